"""Many trials: specs, designs, sweeps under Ray Tune, the store, MLflow."""
