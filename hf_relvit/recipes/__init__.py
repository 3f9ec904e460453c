"""The analyses as studies run them and as reports and cards tell them: one value each."""
