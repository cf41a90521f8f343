"""What controls and audits of a study say, from its store alone."""
