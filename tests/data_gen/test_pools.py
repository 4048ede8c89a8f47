"""Pools: made once, found again, made anew when their code changes, and of no harm where nothing can be written."""

import os
import subprocess
import sys
import threading

import pytest
import torch

import data_gen.pools as pools
from data_gen import MetaDistribution, Streams, generate_batch
from data_gen.families import KINDS, POOLED_KINDS, ParameterLaw, draw_family, every_pool
from data_gen.joint import label_error
from data_gen.pools import HELD_OUT_EVERY, Pool, cache_folder, chunk_number
from data_gen.stream import EVALUATION_SEED
from data_gen.streams import structure_generator


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MIST_CACHE", str(tmp_path / "cache"))
    pools._chunk.cache_clear()
    yield tmp_path / "cache"
    pools._chunk.cache_clear()


def counted():
    calls = []

    def make(random):
        calls.append(len(random))
        mi = random.uniform(1).squeeze(-1)
        return {"parameter": 10 * mi, "mi": mi, "standard_error": torch.zeros(len(random))}

    return Pool("counted", 16, 6, make, ("data_gen.streams",)), calls


def test_a_chunk_is_made_once_and_read_by_the_next_process(own_cache):
    pool, calls = counted()
    first = pool.chunk(7)  # 7 modulo 6
    assert pool.path(1).is_relative_to(own_cache) and pool.missing == [0, 2, 3, 4, 5]
    pools._chunk.cache_clear()  # as another process would find it
    again = pool.chunk(1)
    assert calls == [16] and all(torch.equal(first[name], again[name]) for name in first)
    assert (first["mi"].diff() >= 0).all() and torch.equal(first["parameter"], 10 * first["mi"])


def test_chunks_differ_and_do_not_depend_on_one_another():
    pool, _ = counted()
    two, zero = pool.chunk(2), pool.chunk(0)
    assert not torch.equal(two["mi"], zero["mi"])
    other, _ = counted()
    assert torch.equal(other.chunk(2)["mi"], two["mi"])


def test_a_torn_file_is_made_again():
    pool, calls = counted()
    whole = pool.chunk(0)
    path = pool.path(0)
    path.write_bytes(path.read_bytes()[:40])
    pools._chunk.cache_clear()
    assert torch.equal(pool.chunk(0)["mi"], whole["mi"]) and calls == [16, 16]
    assert not list(path.parent.glob("*.tmp"))


def test_other_code_makes_the_pool_anew(monkeypatch, tmp_path):
    pool, calls = counted()
    pool.chunk(0)
    before = pool.folder
    changed = tmp_path / "streams.py"
    changed.write_text("# other code")
    monkeypatch.setattr("data_gen.streams.__file__", str(changed))
    pools._key.cache_clear()
    try:
        assert pool.folder != before and pool.missing == list(range(6))
        pool.chunk(0)
        assert calls == [16, 16] and pool.remove_stale() == 0 and before.exists()  # another process may use it
        os.utime(before, (0, 0))
        assert pool.remove_stale() == 1
        assert not before.exists() and pool.path(0).exists()
    finally:
        pools._key.cache_clear()


def test_training_never_draws_what_is_kept_for_evaluation():
    law = MetaDistribution(families={"loop": 1.0, "mixture": 1.0, "product": 1.0}, category_probability=0.2)
    for pool in every_pool():
        assert pool.num_chunks % HELD_OUT_EVERY == 0
    drawn = [set(), set()]
    for held_out in (False, True):
        for index in range(400):
            for shape in law.draw_shapes(structure_generator(0, index), held_out=held_out):
                drawn[held_out].add(shape.chunk % 24)
    assert drawn[True] == {5, 11, 17, 23} and drawn[False] == set(range(24)) - drawn[True]
    assert {chunk_number(draw, False) for draw in range(20)} == drawn[False]
    law = MetaDistribution(families={"loop": 1.0}, num_points=(10, 20), max_num_points=20)
    kept = generate_batch(law, EVALUATION_SEED, 0), generate_batch(law, 0, 0)
    assert not set(kept[0].mi.tolist()) & set(kept[1].mi.tolist()) - {0.0}


def test_labels_of_many_weak_pairs_are_as_good_as_those_of_one():
    """Errors of the pairs add, so that a label of 32 weak ones is the test."""
    for variant in ("gumbel_independent", "frank_frank", "joe_joe"):
        joint = draw_family(f"copula_mixture-{variant}", 32, 32, ParameterLaw(), Streams(range(64)))
        mi, error = joint.mutual_information, label_error(joint).expand(64)
        assert (mi > 0).all() and (error <= 0.0235 * (mi + 0.05)).all()  # batches drop those past two per cent
        assert torch.allclose(error, joint.pair_error.sum(-1))


def test_rows_are_drawn_by_their_level():
    pool, _ = counted()
    rows = pool.rows(0, torch.tensor([[0.0, 0.5], [0.99, 1.0]]))
    chunk = pool.chunk(0)["mi"]
    assert torch.equal(rows["mi"], torch.stack([chunk[[0, 8]], chunk[[15, 15]]]))


def test_without_a_place_to_write_labels_are_made_all_the_same(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("MIST_CACHE", str(blocked))
    pool, calls = counted()
    with pytest.warns(RuntimeWarning, match="expected a folder to write to: .* set MIST_CACHE to a folder"):
        pool.chunk(0)
    assert calls == [16]


def test_processes_that_make_one_chunk_at_once_do_no_harm():
    pool, _ = counted()
    threads = [threading.Thread(target=pools.make_chunk, args=(pool, 0)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.name for path in pool.folder.iterdir()] == ["0000.safetensors"]


def test_the_folder_is_the_users_cache_unless_told(monkeypatch, own_cache):
    assert cache_folder() == own_cache / "pools"
    monkeypatch.delenv("MIST_CACHE")
    assert cache_folder().parent.name == "mist-mi" and os.path.isabs(cache_folder())


def test_every_pool_has_a_name_and_labels_of_its_own():
    names = [pool.name for pool in every_pool()]
    assert len(set(names)) == len(names) == 1 + 3 + 20 + 2 * 36
    assert {name.partition("-")[0] for name in names} == set(POOLED_KINDS)


def test_all_pools_together_are_as_large_as_the_design_asks():
    program = "from data_gen.families import every_pool; print(sum(p.chunk_size * p.num_chunks for p in every_pool()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) >= 100_000


@pytest.mark.parametrize("kind", POOLED_KINDS)
def test_labels_of_pooled_families_and_their_errors(kind):
    """What a family draws is what its pool holds, and no label is worse than two per cent."""
    variant = KINDS[kind].variants[-1] if KINDS[kind].variants else ""
    name = f"{kind}-{variant}" if variant else kind
    joint = draw_family(name, 3, 2, ParameterLaw(chunk=5), Streams(range(16)))
    other = draw_family(name, 3, 2, ParameterLaw(chunk=6), Streams(range(16)))
    mi = joint.mutual_information
    assert mi.shape == (16,) and (mi >= 0).all() and not torch.allclose(mi, other.mutual_information)
    error = label_error(joint).expand_as(mi)
    assert (error <= 0.02 * (mi + 0.05)).all()
    assert bool((error > 1e-4).any()) == (kind == "mixture")
