"""HTML pages: a suite's report, and the index of a results root."""
