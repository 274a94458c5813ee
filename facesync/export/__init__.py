"""Models for other programs: ONNX, LiteRT and ExecuTorch, each compared with the original."""
