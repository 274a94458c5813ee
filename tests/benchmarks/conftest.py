from tests.evaluation.conftest import detector, folder, model, pairs_file

__all__ = ["detector", "folder", "model", "pairs_file"]
