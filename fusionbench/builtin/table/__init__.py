"""The `table` cohort: a user's own files, described by a TOML; docs/own-data.md shows one.

`schema` defines the TOML, `sheets` reads tables, `column_selection` finds the columns of a modality, `values` converts
cells to numbers, `vectors`, `slides` and `outcome` give modalities and targets, and `read` combines them all. Each
adds the problems it finds to one list, so that a user sees all of them at once.
"""
