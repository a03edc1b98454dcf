"""The statistics, tested on data whose truth is known: `python -m tests.calibration --out FILE`."""
