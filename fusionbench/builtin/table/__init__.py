"""The `table` cohort: a user's own files, described by a TOML; docs/own-data.md shows one.

`words` is what the TOML may say, `files` reads tables, `claims` finds the columns of a modality, `cells` makes numbers
of them, `outcome` reads follow-up, `slides` joins feature files to cases, and `dataset` puts it together. Each of them
adds what is wrong to one list, so that a user sees every problem at once.
"""
