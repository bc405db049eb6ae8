"""The engine process: one loaded model, continuous batching."""
