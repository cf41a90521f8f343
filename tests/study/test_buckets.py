"""Stores in a bucket, on a real server on loopback, beside stores in a folder: the same promises."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from mia_core.data import load_pool
from study.design.design_rows import design_rows
from study.design.study_design import Design
from study.design.work import missing
from study.outcomes import COMPLETE, INCOMPLETE, REFUSED
from study.run.feature_spaces import feature_network
from study.run.runner import Runner
from study.store import Away, Damaged, Store, buckets, compact, leases, read
from tests.commands import MIA_STUDY, mia_study, run_here
from tests.object_store import BUCKET, FULL, MANY, client, object_store
from tests.small import SMALL, add_database, database, small_spec, start_ray

main = mia_study("store")

main = mia_study("store")

TIMES = ["seconds", "seconds_train", "seconds_attack", "peak_bytes", "finished_at"]
FEW = ("factors.train_size=[40]", "factors.defense=[none]", "replicates=2", "controls.nulls=1",
       "attacks=[white_box, {name: euclidean, generated: 64}]", "quality.measures=[kid]")  # fmt: skip


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    """The place of an empty study."""
    root = tmp_path / "results" if request.param == "folder" else request.getfixturevalue("bucket")
    return Store(root, "small").place


@pytest.fixture(scope="module")
def sound(server):
    """A small finished study in a bucket, never changed, and its design."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.items():
            patch.setenv(name, value)
        spec = small_spec(*FEW)
        design = Design(spec, load_pool(spec.data))
        store = Store(f"s3://{BUCKET}/sound", "small")
        finish(design, store)
        return design, store


@pytest.fixture
def finished(sound, server, bucket):
    """A copy of it, and the design."""
    design, _ = sound
    s3, copy = client(server), Store(bucket, "small")
    for item in s3.list_objects_v2(Bucket=BUCKET, Prefix="sound/small/")["Contents"]:
        key = item["Key"].replace("sound", bucket.removeprefix(f"s3://{BUCKET}/"), 1)
        s3.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": item["Key"]})
    return design, copy


def finish(design, store):
    """What a sweep does, without Ray and MLflow."""
    store.publish(design.hash, design.spec.resolved, design_rows(design), {"git_commit": "abc"})
    feature_network(design, store)
    for works in missing(design, store).values():
        list(Runner(design, store, key=bytes(32)).run(works))
    compact(store)


def contents(store, folder):
    """Bytes by name, without the nonce of the attempt."""
    names = {name: re.sub(r"-[0-9a-f]{8}(?=\.)", "", name) for name in store.place.names(folder)}
    return {short: store.place.read(f"{folder}/{name}") for name, short in names.items()}


def rows(store, table):
    return read(store.root, store.study, table).drop(columns=TIMES, errors="ignore")


# What a place promises


def test_files_are_written_read_listed_and_removed_alike(place):
    assert place.names("done") == place.files("done") == place.folders("checkpoints") == []
    assert not place.exists("done/a.json")
    place.write("done/a.json", b"one")
    place.write("done/b.json", b"two")
    place.write("done/.hidden", b"x")
    place.write("checkpoints/j/1.safetensors", b"y")
    place.write("study.json", b"z")
    assert place.exists("done")
    assert place.exists("done/a.json")
    assert place.read("done/a.json") == b"one"
    assert place.names("done") == ["a.json", "b.json"]
    assert place.names("done", "b") == ["b.json"]
    assert [(entry.name, entry.bytes) for entry in place.files("done")] == [
        (".hidden", 1),
        ("a.json", 3),
        ("b.json", 3),
    ]
    assert [entry.name for entry in place.files(".")] == ["study.json"]
    assert place.folders("checkpoints") == ["j"]
    assert place.stat("done/a.json") == place.files("done")[1]
    assert list(place.read_each(["done/b.json", "done/absent", "done/a.json"])) == [b"two", None, b"one"]
    place.remove("done/a.json")
    place.remove("done/a.json")
    place.remove_folder("checkpoints/j")
    place.prune("checkpoints/j")
    assert place.stat("done/a.json") is None
    assert place.folders("checkpoints") == []
    with pytest.raises(Damaged, match="missing"):
        place.read("done/a.json")


def test_a_version_is_another_once_the_content_is(place):
    place.write("done/a.json", b"one")
    first = place.stat("done/a.json").version
    place.settle("done/a.json", b"one")
    assert place.stat("done/a.json").version == first
    time.sleep(0.02)
    place.settle("done/a.json", b"two")
    assert place.read("done/a.json") == b"two"
    assert place.stat("done/a.json").version != first


def test_of_many_who_create_a_file_at_once_exactly_one_does(place):
    start = threading.Barrier(16)

    def create(number):
        start.wait()
        return place.create("done/a.json", f"of {number}".encode())

    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(create, range(16)))
    assert sum(created) == 1
    assert place.read("done/a.json") == f"of {created.index(True)}".encode()


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_listing_of_more_than_a_page_is_whole(kind, tmp_path, bucket):
    if kind == "folder":
        for name in MANY:
            file = tmp_path / "small" / "done" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(name.encode())
    place = Store(tmp_path if kind == "folder" else f"s3://{FULL}", "small").place
    assert place.names("done") == MANY
    assert list(place.read_each([f"done/{name}" for name in MANY[::100]])) == [name.encode() for name in MANY[::100]]


def test_one_driver_at_a_time_and_the_next_goes_on_after_it(place, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.2)
    place.probe()
    for _ in range(2):
        with place.lock():
            with pytest.raises(ValueError, match="another sweep") as refused, place.lock():
                pass
            assert "\n" not in str(refused.value)


def test_a_store_may_be_named_as_a_folder_a_file_uri_or_in_a_bucket(tmp_path, bucket):
    assert Store.at(tmp_path / "small").folder == Store(f"file://{tmp_path}", "small").folder == tmp_path / "small"
    assert Store.at(f"{bucket}/small/").uri == Store(f"{bucket}/", "small").uri == f"{bucket}/small"
    with pytest.raises(ValueError, match="is no folder of this machine"):
        _ = Store(bucket, "small").folder
    for odd in (
        "s3://",
        "s3://B/x",
        "s3://bucket/../x",
        "s3://bucket/a//b",
        "s3://bucket/x?y",
        "s3:///x",
        "http://x/y",
        "http://[::1",
        "file://[::1/x",
    ):
        with pytest.raises(ValueError) as refused:
            Store(odd, "small")
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError) as refused:
        Store("s3://somebody:hidden@bucket/x", "small")
    assert "hidden" not in str(refused.value)


# Leases


def lapse(monkeypatch, seconds=1.0, renew=0.2):
    monkeypatch.setattr(leases, "LEASE_SECONDS", seconds)
    monkeypatch.setattr(leases, "RENEW_SECONDS", renew)


def test_a_lease_that_is_not_renewed_is_taken_over_by_one_of_many(bucket, monkeypatch):
    lapse(monkeypatch)
    dead = leases.Lease(Store(bucket, "small").place)
    monkeypatch.setattr(dead, "_keep", lambda: None)
    dead._thread = threading.Thread(target=lambda: None)
    dead.acquire()
    others = [leases.Lease(Store(bucket, "small").place) for _ in range(6)]

    def acquire(lease):
        try:
            lease.acquire()
        except ValueError:
            return False
        return True

    started = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(acquire, others))
    assert sum(taken) == 1
    assert time.monotonic() - started < 10
    others[taken.index(True)].release()


def test_a_driver_that_was_away_too_long_stops_and_writes_nothing_more(bucket, monkeypatch):
    lapse(monkeypatch)
    place, other = Store(bucket, "small").place, Store(bucket, "small").place
    with pytest.raises(Away, match="another one goes on"), place.lock():
        place.write("done/a.json", b"before")
        found = place.look(leases.NAME)
        assert other.put(leases.NAME, b'{"owner": "another"}', found.etag)
        with pytest.raises(KeyboardInterrupt):
            for _ in range(300):  # a signal that is raised in another thread ends no sleep
                time.sleep(0.1)
        with pytest.raises(Away, match="another one goes on"):
            place.write("done/a.json", b"after")
    assert place.read("done/a.json") == b"before"
    assert place.look(leases.NAME).owner == "another"


def test_a_renewal_whose_answer_was_lost_is_no_loss(bucket, monkeypatch):
    lapse(monkeypatch)
    place = Store(bucket, "small").place
    plain, lost = place.put, []

    def losing(relative, data, instead_of):
        etag = plain(relative, data, instead_of)
        if instead_of and not lost:
            lost.append(etag)
            return None
        return etag

    monkeypatch.setattr(place, "put", losing)
    with place.lock():
        time.sleep(1)
        place.write("done/a.json", b"still here")
    assert lost


# Whole studies


@pytest.mark.long
def test_a_study_in_a_bucket_has_the_bits_of_one_in_a_folder(finished, tmp_path, capsys):
    design, store = finished
    other = Store(tmp_path, "small")
    finish(design, other)
    for table in ("trials", "quality", "attacks", "scores", "history", "wide"):
        pd.testing.assert_frame_equal(rows(store, table), rows(other, table))
    for folder in ("targets", "resume", "samples", "features"):
        assert contents(store, folder) == contents(other, folder)
    assert not missing(design, store)
    assert main(["check", store.uri]) == 0
    assert "0 damaged\n0 unsealed files" in capsys.readouterr().out


@pytest.mark.slow
def test_every_command_takes_a_study_in_a_bucket(finished, tmp_path, capsys, monkeypatch):
    _, store = finished
    monkeypatch.chdir(tmp_path)
    store.place.write("targets/nobody.safetensors", b"garbage")
    assert main(["gc", store.uri]) == 0
    assert "1 more are younger" in capsys.readouterr().out
    time.sleep(1.1)  # servers tell times in seconds
    assert main(["gc", store.uri, "--older-than", "0"]) == 0
    assert "7 bytes freed in 1 files" in capsys.readouterr().out
    assert main(["compact", store.uri]) == 0
    assert main(["export", "--public", store.uri, "public"]) == 0
    pd.testing.assert_frame_equal(rows(Store(tmp_path, "public"), "attacks"), rows(store, "attacks"))
    assert main(["export", "--public", store.uri, f"{store.root}/public"]) == 2
    assert "is no file or folder of this machine" in capsys.readouterr().err
    assert mia_study("tables")([store.uri]) == 0
    assert mia_study("figures")([store.uri, "pictures"]) == 0
    for command in ("controls", "audit"):
        assert mia_study(command)([store.uri]) == 0
    add_database(tmp_path)
    assert mia_study("track")([store.uri, "--tracking", database(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".mlflow.db.lock", "mlartifacts", "mlflow.db", "pictures", "public"
    ]  # fmt: skip
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        assert secret not in path.read_bytes()


@pytest.mark.slow
def test_damaged_and_lost_objects_are_noticed_and_done_again(finished, capsys):
    design, store = finished
    expected = rows(store, "attacks")
    for name in store.place.names("compacted"):
        store.place.remove(f"compacted/{name}")
    first, second = [name for name, marker in store.markers().items() if marker["work"]["train"]][:2]
    relative = next(file for file in store.marker(first)["files"] if file.startswith("attacks/"))
    data = store.place.read(relative)
    store.place.write(relative, data[:50] + bytes([data[50] ^ 4]) + data[51:])
    with pytest.raises(Damaged, match=first):
        rows(store, "attacks")
    store.place.write(f"done/{second}.json", b"{")
    assert main(["check", store.uri]) == 1
    said = capsys.readouterr().out
    assert f"DAMAGED {relative}" in said
    assert f"DAMAGED done/{second}.json" in said
    store.place.remove(f"done/{first}.json")
    finish(design, store)
    assert main(["check", store.uri]) == 0
    pd.testing.assert_frame_equal(rows(store, "attacks"), expected)


def test_checkpoints_and_failures_are_kept_and_dropped(bucket):
    import torch

    store = Store(bucket, "small")
    for step in (1, 2, 3):
        store.save_checkpoint("j1", {"x": torch.full((3,), float(step))}, {"step": step})
    assert len(store.place.names("checkpoints/j1")) == 2
    assert next(store.checkpoints("j1", up_to_step=2), None)[1]["step"] == 2
    store.drop_checkpoints("j1")
    assert next(store.checkpoints("j1", up_to_step=9), None) is None
    store.save_failure("j1", {"error": "x"})
    assert store.failed() == {"j1"}
    assert store.failure("j1") == {"error": "x"}
    store.drop_failure("j1")
    assert store.failed() == set()


# Refusals


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    return ["small.yaml", *(word for setting in FEW for word in ("--set", setting))]


def refused(arguments, capsys):
    """What a refused sweep says, within seconds."""
    started = time.monotonic()
    assert mia_study("sweep")(arguments) == REFUSED
    assert time.monotonic() - started < 30
    said = capsys.readouterr().err
    assert said.startswith("refused: ")
    assert said.count("\n") == 1
    return said


def test_an_endpoint_in_the_files_of_boto3_is_asked_by_path_as_one_in_the_environment(bucket, monkeypatch, tmp_path):
    endpoint = os.environ["AWS_ENDPOINT_URL"].replace("127.0.0.1", "localhost")  # whose buckets have no hosts
    (tmp_path / "config").write_text(f"[default]\nendpoint_url = {endpoint}\n")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    place = Store(bucket, "small").place
    place.write("a", b"1")
    assert place.read("a") == b"1"
    assert place._client.meta.config.s3["addressing_style"] == "path"


@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1"])
def test_at_aws_each_bucket_is_asked_at_its_own_host(monkeypatch, region):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    client = Store("s3://some-bucket/results", "small").place._client
    assert "addressing_style" not in (client.meta.config.s3 or {})


def test_a_server_without_conditional_put_is_refused(small, bucket, monkeypatch, capsys):
    with object_store("--plain") as environment:
        monkeypatch.setenv("AWS_ENDPOINT_URL", environment["AWS_ENDPOINT_URL"])
        said = refused([*small, "--set", f"results=s3://{BUCKET}/results"], capsys)
        assert "does not honor conditional PUT" in said
        assert not client(environment).list_objects_v2(Bucket=BUCKET).get("Contents")


@pytest.mark.slow
def test_an_endpoint_that_is_away_or_silent_is_refused_in_seconds(small, bucket, monkeypatch, capsys):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        assert "cannot be reached" in refused([*small, "--set", f"results={bucket}"], capsys)
        monkeypatch.setitem(buckets.SECONDS, "read_timeout", 1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://somebody:hidden@127.0.0.1:{port}")
        silent.listen()
        said = refused([*small, "--set", f"results={bucket}"], capsys)
        assert f"http://127.0.0.1:{port} cannot be reached" in said
        for command in ("tables", "controls", "track"):
            assert mia_study(command)([f"{bucket}/small"]) == INCOMPLETE
            assert capsys.readouterr().err.count("\n") == 1


def test_a_bucket_that_is_absent_and_credentials_that_are_missing_are_refused(small, bucket, monkeypatch, capsys):
    said = refused([*small, "--set", "results=s3://no-such-bucket/results"], capsys)
    assert "there is no bucket 'no-such-bucket'" in said
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "absent")
    assert "no credentials; set AWS_ACCESS_KEY_ID" in refused([*small, "--set", f"results={bucket}"], capsys)


def test_without_boto3_the_way_to_get_it_is_said(small, bucket, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setenv("AWS_PROFILE", "another")  # so that no client is at hand
    assert "pip install '.[s3]'" in refused([*small, "--set", f"results={bucket}"], capsys)


# Sweeps


LEAN = ("factors.train_size=[40]", "factors.epochs=[1, 1000]", "factors.defense=[none]", "replicates=1", "tracking=~",
        "controls.nulls=0", "controls.blind=false", "controls.copycat=false", "attacks=[white_box]",
        "quality.measures=[kid]", "compute.checkpoint_seconds=1")  # fmt: skip


@pytest.mark.soak  # fault injection for minutes
@pytest.mark.timeout(1500)
def test_a_sweep_to_a_bucket_interrupted_and_resumed_has_the_bits_of_a_folder(bucket, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    store, other = Store(bucket, "small"), Store(tmp_path / "results", "small")
    settings = [word for setting in (f"results={bucket}", *LEAN) for word in ("--set", setting)]

    start_ray()
    undisturbed = run_here("sweep", tmp_path, "small.yaml", *settings, "--set", "results=results")
    assert undisturbed.returncode == COMPLETE, undisturbed.stderr
    command = [*MIA_STUDY, "sweep", "small.yaml", *settings]  # its workers reach the bucket by its own environment

    def start():
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with start() as first:
        until = time.monotonic() + 400
        while not store.place.names("done") and time.monotonic() < until:
            time.sleep(0.1)
        first.terminate()
        assert "the same command goes on" in first.communicate(timeout=400)[0]
        assert first.returncode == INCOMPLETE
    assert len(store.place.names("done")) == 1
    with start() as second:
        said = second.communicate(timeout=400)[0]
        assert second.returncode == COMPLETE, said
    assert f"parquet:  {bucket}/small/" in said
    for table in ("trials", "quality", "attacks", "scores", "history", "wide"):
        pd.testing.assert_frame_equal(rows(store, table), rows(other, table))
    for folder in ("targets", "resume", "samples"):
        assert contents(other, folder).items() <= contents(store, folder).items()
    assert not store.place.folders("checkpoints")
    assert not store.place.names("failures")
    assert main(["check", store.uri]) == 0
    alone = run_here("trial", tmp_path, f"{store.uri}/specs/{store.pointer()['spec']}.json")
    assert "white_box" in alone.stdout
    assert alone.returncode == COMPLETE, alone.stderr
