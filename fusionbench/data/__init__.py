"""From a dataset to batches: reading, checking, folds, masks, preprocessing, collation, caches."""
