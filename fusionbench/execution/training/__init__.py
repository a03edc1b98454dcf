"""The training loop of torch models."""
