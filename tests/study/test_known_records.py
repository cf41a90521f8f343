"""The records an attack knows: ids, who they are, and splits that have too few."""

import pytest

from tests.study.designs import wanted_attacks

KNOWING = (
    "attacks=[random, white_box, {name: local_gan, known: [0, 10, 20], steps: [2]}, "
    "{name: discriminative, real: [samples, members], known: 10, steps: [2]}]"
)


def test_the_knowledge_of_an_attack_is_told_in_words(make_design):
    both = "known_members {0} % ({1}) + known_non_members {0} % ({1})"
    assert {label: item.knowledge for label, item in wanted_attacks(make_design(KNOWING)).items()} == {
        "random": "none",
        "white_box": "none",
        "local_gan_steps2": "none",
        "local_gan_known10_steps2": both.format(10, 4),
        "local_gan_known20_steps2": both.format(20, 8),
        "discriminative_samples10_steps2": "known_non_members 10 % (4)",
        "discriminative_members10_steps2": both.format(10, 4),
    }


def test_attack_ids_change_with_the_known_records_and_only_of_attacks_that_know_any(make_design):
    # More known records are others, as non-members come after members in the pool's order; they change no query.
    few, more = wanted_attacks(make_design(KNOWING)), wanted_attacks(make_design(KNOWING, "split.known=12"))
    same = {label for label in few if few[label].attack_id == more[label].attack_id}
    assert same == {"random", "white_box", "local_gan_steps2"}
    assert few["local_gan_steps2"].run_id == more["local_gan_steps2"].run_id


def test_attacks_that_know_different_records_have_different_ids_and_streams(make_design):
    found = wanted_attacks(make_design(KNOWING))
    assert len({item.attack_id for item in found.values()}) == len({item.run_id for item in found.values()}) == 7


def test_known_shares_are_what_an_attack_is_given_and_nested(make_design):
    design = make_design(KNOWING)
    known = {label: design.attacks.known(item.choice.build()) for label, item in wanted_attacks(design).items()}
    assert known["random"] == known["local_gan_steps2"] == {}
    assert {word: len(records) for word, records in known["local_gan_known20_steps2"].items()} == {
        "known_members": 8,
        "known_non_members": 8,
    }
    assert known["discriminative_samples10_steps2"].keys() == {"known_non_members"}
    for word in ("known_members", "known_non_members"):
        fewer, more = (known[f"local_gan_known{share}_steps2"][word] for share in (10, 20))
        assert list(more[: len(fewer)]) == list(fewer)


def test_nobody_an_attack_knows_is_judged_in_any_trial(make_design):
    # Mistake 6 of published code, at the level of the design.
    design = make_design(KNOWING)
    known = {
        i
        for item in wanted_attacks(design).values()
        for part in design.attacks.known(item.choice.build()).values()
        for i in part
    }
    assert len(known) == 16
    aside = known | {*design.split.reference, *design.split.unseen}
    for trial in design.trials:
        membership = design.split.membership(trial.replicate, trial.cell.train_size)
        assert not aside & set(membership.queries)


@pytest.mark.parametrize("known", [0, 3, 11])
@pytest.mark.parametrize("attack", ["local_gan_known", "discriminative_samples"])
def test_a_split_with_too_few_known_records_is_refused_with_the_number_it_needs(make_design, attack, known):
    attacks = f"attacks=[{{name: {attack.rpartition('_')[0]}, known: [10, 30]}}]"
    reason = (
        f"^attacks: {attack}30: 30 % of the smallest train_size 40 are 12 known records on a side, and split.known is "
        f"{known}; raise it to 12$"
    )
    with pytest.raises(ValueError, match=reason):
        make_design(attacks, f"split.known={known}")
    assert make_design(attacks, "split.known=12").trials


def test_a_percentage_that_is_no_record_is_refused(make_design):
    sizes = "factors.train_size=[4]", "split.panel=4", "split.known=1", "training.batch_size=2", "quality.measures=[]"
    with pytest.raises(
        ValueError, match=r"local_gan_known10 needs known_members, and 10 % of .* train_size 4 is no record"
    ):
        make_design("attacks=[{name: local_gan, known: 10}]", *sizes, "factors.defense=[none]")


def test_an_attack_without_knowledge_needs_nobody_known(make_design):
    assert make_design("split.known=0").trials
