"""What tests of designs ask them for."""

THREE = ("target=~", "factors.target=[{name: dcgan, width: 4, latent: 8}, {name: began, width: 2, latent: 8}, "
    "{name: vae_gan, width: 4, latent: 8}]")  # fmt: skip


def ids(design):
    return [trial.trial_id for trial in design.trials]


def wanted_attacks(design):
    return {item.label: item for item in design.trials[0].attacks}
