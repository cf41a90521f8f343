"""A sweep: its flow, Ray Tune, workers, and what is shown while it runs."""
