"""What the verbs do beside running: explain, tuning, status, audit, profile, predict, publish, doctor."""
