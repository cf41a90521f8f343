from study.outcomes import COMPLETE, REFUSED
from study.store import Store
from tests.commands import mia_study
from tests.small import SMALL

main = mia_study("trial")


def test_one_trial_prints_its_numbers_and_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    assert (
        main(["small.yaml", "--set", "factors.defense=[{name: dp_sgd, sigma: 1.0, clip: 1.0, delta: 1e-5}]"])
        == COMPLETE
    )
    printed = capsys.readouterr().out
    assert "n=40 epochs=2 dp_sgd sigma=1 replicate=0" in printed
    assert "guarantee: epsilon" in printed
    assert "per record at delta 1e-05, add-or-remove-one" in printed
    for word in ("white_box", "euclidean", "local_gan_steps4", "kid", "coverage"):
        assert word in printed
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_a_trial_can_be_named_and_kept(tmp_path, monkeypatch, capsys, make_design):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    trial = make_design().trials[3]
    assert main(["small.yaml", "--id", trial.trial_id, "--results", "kept"]) == COMPLETE
    printed = capsys.readouterr().out
    assert trial.name in printed
    assert "guarantee: none" in printed
    assert set(Store("kept", "small").done()) == {trial.trial_id}
    assert main(["small.yaml", "--id", trial.trial_id, "--results", "kept"]) == COMPLETE
    assert capsys.readouterr().out == printed
    assert len(Store("kept", "small").passes()) == 1


def test_an_unknown_trial_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    assert main(["small.yaml", "--id", "nonsense"]) == REFUSED
    assert "no such trial or trajectory" in capsys.readouterr().err
