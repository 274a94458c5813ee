"""Fine-tuning: settings, model, loop, checkpoints, history."""
