"""The results folder of a suite on disk: cells, frames, lock of a run."""
