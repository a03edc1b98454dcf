"""Breaches planted in results, cohorts and plugins, and what must catch each.

What nothing here can catch is listed in docs/audit.md under "What this cannot prove".
"""
