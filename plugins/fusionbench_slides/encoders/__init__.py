"""The encoders that come along: published residual networks, files of the user's own, and the mean colour."""
