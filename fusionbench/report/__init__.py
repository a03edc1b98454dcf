"""Views of stored results: tables, findings, figures, HTML and MLflow."""
