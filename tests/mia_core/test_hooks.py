"""Each hook of a defense does to a training what it says, and nothing else."""

import copy

import numpy as np
import pytest
import torch

from mia_core.batches import Ordered, Rows
from mia_core.defenses import DEFENSES, Arm, Defense
from mia_core.registry import Registry
from mia_core.settings import settings
from mia_core.step_draws import normal
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records
from tests.mia_core.contract import same_states


def images(count=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)


@pytest.fixture
def register(monkeypatch):
    """Makes defenses of classes that have hooks alone; their names are those of the classes, in small letters."""

    def add(*defenses):
        registry = Registry("defense")
        registry._classes = {**DEFENSES._classes}
        for defense in defenses:
            defense.name, defense.strength = defense.__name__.lower(), None
            defense.Config = settings(type("Config", (), {"__annotations__": {}, "__doc__": "Nothing to set."}))
            registry.register(defense)
        monkeypatch.setattr("mia_core.defenses.arm.DEFENSES", registry)

    return add


@pytest.fixture
def training(register):
    """Trains a DCGAN for two steps under defenses given as classes."""

    def run(*defenses, records=None, batch_size=4, steps=2):
        register(*defenses)
        arm = Arm.parse([defense.name for defense in defenses] or "none")
        target = TARGETS.choose({"name": "dcgan", "width": 4, "latent": 4}).build((1, 8, 8))
        given = images() if records is None else records
        trainer = Trainer(
            target, Records(given, 12), TrainingConfig(batch_size=batch_size), arm, Streams(1), around=noting
        )
        trainer.run_to(steps)
        return trainer

    return run


def noting(rule, target, facts):
    """A rule of gradients that keeps what it was given and the discriminator's gradient that it left."""

    def noted(networks, losses, records, rows):
        values = rule(networks, losses, records, rows)
        gradient = [p.grad.clone() for p in networks["discriminator"].parameters()]
        noted.steps.append((records[0].clone(), rows, values, gradient))
        return values

    noted.steps = []
    return noted


def weights(trainer):
    return copy.deepcopy(trainer.target.state_dict())


def test_without_hooks_a_defense_changes_nothing(training):
    class Idle(Defense):
        pass

    assert same_states(weights(training(Idle)), weights(training()))


def test_inputs_change_what_a_step_sees_of_real_records_by_draws_of_their_own(training):
    class Noisy(Defense):
        def inputs(self, x_BCHW, draw):
            return x_BCHW + draw("noisy", normal(*x_BCHW.shape))

    plain, noisy, again = training(), training(Noisy), training(Noisy)
    for (seen, rows, _, _), (changed, others, _, _) in zip(
        plain.learner.rule.steps, noisy.learner.rule.steps, strict=True
    ):
        assert torch.equal(rows.index, others.index)
        assert 0.7 < float((changed - seen).std()) < 1.3
    assert same_states(weights(noisy), weights(again))
    assert not same_states(weights(noisy), weights(plain))


def test_losses_are_changed_for_real_records_alone(training):
    class Doubled(Defense):
        def losses(self, losses):
            return lambda networks, *records: {name: 2 * x for name, x in losses(networks, *records).items()}

    (_, _, plain, gradient), *_ = training(steps=1).learner.rule.steps
    (_, _, doubled, twice), *_ = training(Doubled, steps=1).learner.rule.steps
    torch.testing.assert_close(doubled["discriminator"], 2 * plain["discriminator"])
    for one, two in zip(gradient, twice, strict=True):
        torch.testing.assert_close(two, 2 * one)


def test_gradients_replace_the_rule_and_losses_reach_the_one_that_is_put_in(training):
    calls = []

    class Counting(Defense):
        def gradients(self, rule, facts):
            def counted(networks, losses, records, rows):
                calls.append((len(rows.index), facts.records, facts.train_size, facts.batch_size))
                return rule(networks, losses, records, rows)

            return counted

    assert same_states(weights(training(Counting)), weights(training()))
    assert calls == [(4, 12, 12, 4)] * 2


def test_batches_choose_the_records_of_a_step(training):
    class Backwards(Defense):
        def batches(self, facts):
            class Last:
                def rows(self, step):
                    return Rows(torch.arange(facts.records - 1, facts.records - 1 - facts.batch_size, -1))

            return Last()

    trainer = training(Backwards)
    assert [rows.index.tolist() for _, rows, _, _ in trainer.learner.rule.steps] == [[11, 10, 9, 8]] * 2
    assert isinstance(training().batches, Ordered)


def test_two_ways_to_choose_records_are_our_mistake(training):
    class One(Defense):
        def batches(self, facts):
            return Ordered(facts.streams, facts.records, facts.batch_size)

    class Other(One):
        pass

    with pytest.raises(AssertionError, match="chooses records in 2 ways"):
        training(One, Other)


def test_weights_are_changed_after_every_step(training):
    class Cut(Defense):
        def weights(self, target):
            with torch.no_grad():
                for parameter in target.discriminator.parameters():
                    parameter.clamp_(-0.01, 0.01)

    trainer = training(Cut)
    assert all(float(p.abs().max()) <= 0.01 for p in trainer.target.discriminator.parameters())
    assert float(trainer.target.generator[0].weight.abs().max()) > 0.01


def test_parts_leave_records_out_of_training_and_epochs_as_they_were(training):
    class Half(Defense):
        def parts(self, images, streams):
            return np.arange(0, len(images), 2)

    trainer = training(Half, steps=6)
    assert len(trainer.images) == 6
    assert torch.equal(trainer.images, torch.from_numpy(images()[::2]))
    assert trainer.epoch == 2
    assert {int(i) for _, rows, _, _ in trainer.learner.rule.steps for i in rows.index} == set(range(6))


def test_hooks_of_several_defenses_are_met_in_their_order(training):
    class First(Defense):
        def inputs(self, x_BCHW, draw):
            return x_BCHW + 1

    class Second(Defense):
        def inputs(self, x_BCHW, draw):
            return 2 * x_BCHW

    (plain, *_), *_ = training(steps=1).learner.rule.steps
    (seen, *_), *_ = training(First, Second, steps=1).learner.rule.steps
    torch.testing.assert_close(seen, 2 * (plain + 1))


def test_a_conflict_refuses_an_arm():
    weight = {"name": "real_weight", "weight": 0.1}
    for order in ([PRIVATE, weight], [weight, PRIVATE]):
        with pytest.raises(ValueError, match="dp_sgd clips what real_weight would weigh; give one of them"):
            Arm.parse(order)


PRIVATE = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-3}


@pytest.mark.parametrize("hook", ["parts", "batches", "gradients"])
def test_a_private_arm_refuses_whoever_chooses_records_or_takes_gradients_besides(register, hook):
    class Meddling(Defense):
        pass

    register(Meddling)
    Arm.parse([PRIVATE, "meddling"])
    setattr(Meddling, hook, lambda self, *given: None)
    for order in ([PRIVATE, "meddling"], ["meddling", PRIVATE]):
        with pytest.raises(ValueError, match="dp_sgd does not go with meddling, which chooses records"):
            Arm.parse(order)


def test_an_arm_names_no_defense():
    import inspect

    from mia_core.defenses import arm

    text = inspect.getsource(arm).replace("`dropout 0.5`", "").replace("`weight_norm`", "")
    code = [line for line in text.splitlines() if not line.strip().startswith(('"""', "#"))]
    assert not [name for name in DEFENSES.names() if any(name in line for line in code)]
