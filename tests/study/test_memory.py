"""Memory by arithmetic: what no machine holds is refused at plan and sweep, at once; what fits sets how many run."""

import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from mia_core import hardware
from mia_core.errors import Refused
from study.outcomes import REFUSED
from study.plan import cost
from study.plan.capacity import CPU, Machine, Machines
from study.plan.memory import PROCESS, RAY, Memory, size
from study.plan.outlook import Outlook
from study.plan.shapes import activations, defended, parameters
from study.spec.section_models import ComputeSpec
from tests.commands import mia_study
from tests.small import SMALL
from tests.study.test_cost import everything, past_of

GIB = 2**30
STEPS = "factors={train_size: [40], steps: [10]}"
ATTACKS = (
    "attacks=[white_box, {name: local_gan, steps: [2], generated: 64, surrogate: {name: dcgan, width: 4, latent: 8}}]"
)
HUGE = {
    "width, beyond numbers": (["target.width=1000000000"], "dcgan with width=1000000000"),
    "width": (["target.width=1000000"], "training dcgan with 32000327000003 parameters"),
    "latent": (["target.latent=1000000000000"], "lower the width or the latent size of dcgan"),
    "batches": ([STEPS, ATTACKS, "training.batch_size=1000000000000"], "lower training.batch_size"),
    "generated": (["attacks.euclidean.generated=1000000000000"], "attacks.euclidean.generated 1000000000000 samples"),
    "generated for a surrogate": (["attacks.local_gan.generated=1000000000000"], "attacks.local_gan.generated"),
    "surrogate": (["attacks.local_gan.surrogate.width=1000000"], "the surrogate of local_gan"),
    "surrogate, beyond numbers": (["attacks.local_gan.surrogate.width=1000000000"], "dcgan with width=1000000000"),
    "surrogate's batches": (["attacks.local_gan.batch_size=1000000000000"], "lower attacks.local_gan.batch_size"),
    "quality": (["quality.samples=1000000000000", "quality.against=[members]"], "quality.samples 1000000000000"),
    "extractor": (["quality.extractor.width=1000000000"], "lower quality.extractor.width or features"),
    "extractor's batches": (["quality.extractor.batch_size=1000000000000"], "quality.extractor.batch_size"),
}  # fmt: skip


@pytest.fixture
def machine(monkeypatch):
    """This one, with so many bytes and processors."""

    def of(memory, cpus=8):
        monkeypatch.setattr(hardware, "memory_bytes", lambda: memory)
        monkeypatch.setattr(hardware, "cpus", lambda: cpus)

    return of


@pytest.mark.parametrize("kind", HUGE)
def test_what_no_machine_holds_is_refused_at_once_with_the_setting(kind, make_design, machine):
    machine(10**12)
    make_design()  # data and imports
    overrides, words = HUGE[kind]
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(Refused) as refused:
        Machines.here(ComputeSpec()).require(Memory.of(make_design(*overrides)))
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert seconds < 3 and peak < 50 * 2**20


@pytest.mark.parametrize("words", [["sweep", "small.yaml"], ["sweep", "small.yaml", "--plan"], ["trial", "small.yaml"]])
def test_every_command_that_runs_trials_refuses_it_and_leaves_nothing(words, tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    more = ["--set", "attacks.euclidean.generated=1000000000000"]
    assert mia_study(words[0])([*words[1:], *more]) == REFUSED
    said = capsys.readouterr()
    assert "attacks.euclidean.generated 1000000000000" in said.err and said.err.count("\n") == 1
    assert not said.out and not (tmp_path / "results").exists()


def test_parts_are_those_of_the_shapes(make_design):
    design = make_design()
    cell = design.cells[0]
    network = defended(cell.target, cell.arm, design.pool.image_shape)
    assert parameters(cell.target, cell.arm, design.pool.image_shape) == sum(
        tensor.numel() for tensor in network.state_dict().values()
    )
    assert activations(cell.target, cell.arm, design.pool.image_shape) > 2 * 64
    memory = Memory.of(design)
    queries = len(design.membership(design.trials[0]).queries)
    assert memory.worker[0].bytes == 4 * queries * 64
    assert memory.shared[0].bytes == 2 * design.pool.images.nbytes
    assert memory.worker_bytes >= PROCESS + memory.worker[0].bytes
    assert memory.shared_bytes >= PROCESS + RAY


def test_trials_at_once_are_those_that_memory_holds(make_design, machine, store):
    design = make_design()
    memory = Memory.of(design)
    for count in (1, 3, 8, 20):
        machine(memory.shared_bytes + count * memory.worker_bytes + 1)
        here = Machines.here(ComputeSpec())
        assert here.by_memory(memory) == min(count, 8)
        here.require(memory)
        outlook = Outlook.of(design, store, everything(design))
        assert outlook.estimate.slots == min(count, 8)
        (line,) = (line for line in outlook.lines() if line.startswith("memory: "))
        assert f"; {min(count, 8)} trials at once" in line
        assert ("of 8 that processors would run" in line) == (count < 8)
    machine(memory.shared_bytes + memory.worker_bytes - 1)
    with pytest.raises(
        Refused, match=r"memory: one trial at a time takes .*, and there are .* here; use a machine, or a"
    ):
        Machines.here(ComputeSpec()).require(memory)


def test_a_containers_processors_are_those_of_the_plan(make_design, machine, store):
    machine(2**40, cpus=3)
    assert Outlook.of(make_design(), store, everything(make_design())).estimate.slots == 3


def cluster(*nodes, device=CPU):
    return Machines(nodes, "on the largest node of the cluster", device, cluster=True)


def test_a_cluster_is_counted_by_its_own_nodes(make_design, store, machine):
    machine(2**20, cpus=1)  # of the driver, which has no trial
    design = make_design()
    nodes = (Machine(0, memory=2 * GIB, name="head"), *(Machine(16, memory=64 * GIB, name=f"w{n}") for n in range(3)))
    found = Outlook.of(design, store, everything(design), machines=cluster(*nodes))
    assert found.estimate.slots == 48
    cluster(*nodes).require(Memory.of(design))
    with pytest.raises(Refused, match="on the largest node of the cluster"):
        cluster(nodes[0], Machine(4, memory=GIB // 2)).require(Memory.of(design))
    cluster(nodes[0], Machine(4)).require(Memory.of(design))  # whose memory nobody knows


def with_nodes(past, name):
    past.trials["versions"] = f'{{"node": "{name}"}}'
    return past


def test_only_what_ran_on_the_cluster_times_it(make_design, store):
    design = make_design()
    nodes = (Machine(4, memory=64 * GIB, name="w1"),)
    elsewhere = Outlook.of(
        design, store, everything(design), with_nodes(past_of(design, design.every), "laptop"), cluster(*nodes)
    )
    assert elsewhere.estimate.wall is None
    with pytest.raises(Refused, match="nothing of this study was timed; --pilot"):
        elsewhere.require(max_usd=1e9)
    there = Outlook.of(
        design, store, everything(design), with_nodes(past_of(design, design.every), "w1"), cluster(*nodes)
    )
    assert there.estimate.wall is not None


def test_gpus_of_a_cluster_are_not_timed_by_processors(make_design, store):
    design = make_design()
    nodes = (Machine(4, 1, 64 * GIB, "w1"),)
    processors = with_nodes(past_of(design, design.every), "w1")
    assert Outlook.of(design, store, everything(design), processors, cluster(*nodes, device=None)).estimate.wall is None
    gpus = with_nodes(past_of(design, design.every, device="Some GPU"), "w0")
    found = Outlook.of(design, store, everything(design), gpus, cluster(*nodes, device=None))
    assert found.estimate.wall is not None and found.estimate.device == "Some GPU" and found.estimate.gpus == 1


def test_each_node_of_a_cluster_has_the_price_of_a_machine(make_design, store):
    design = make_design("compute.usd_per_hour=2")
    past = with_nodes(past_of(design, design.every), "w1")
    nodes = [Machine(0, name="head"), *(Machine(1, memory=64 * GIB, name=f"w{n}") for n in (1, 2, 3))]
    found = Outlook.of(design, store, everything(design), past, cluster(*nodes))
    hours = found.estimate.wall / 3600
    assert found.estimate.usd(design.spec.compute) == pytest.approx(8 * hours)
    assert any("8 an hour, 4 machines" in line for line in found.lines())
    found.require(max_usd=8.1 * hours)
    with pytest.raises(Refused, match="--max-cost"):
        found.require(max_usd=7.9 * hours)


def test_sizes_read_well():
    assert [size(count) for count in (0, 2**20, 3 * GIB // 2, 24 * GIB, 3 * 2**50)] == [
        "0 MiB", "1 MiB", "1.5 GiB", "24 GiB", "3.0 PiB"
    ]  # fmt: skip
    assert size(2**200) == "more than 10^18 EiB"


def test_rows_without_a_node_are_of_no_cluster():
    rows = pd.DataFrame({"versions": [None, "{}", '{"node": "w1"}'], "device": ["cpu"] * 3})
    assert np.array_equal(cost._of_cluster(rows, CPU, frozenset({"w1"})), [False, False, True])
