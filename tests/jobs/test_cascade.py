"""Sign, calibrate and search through the cascade as a user runs them, in this process."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jobs.bench.promise import command as bench_promise
from jobs.bench.recall import command as bench_recall
from jobs.calibrate import _take_embedded, calibrate
from jobs.cascade import cascade
from jobs.commands import sluice
from jobs.corpus import make_corpus
from jobs.embed import embed
from jobs.lab.config import BenchPromiseConfig, LabConfig
from jobs.report import report
from jobs.search import search
from jobs.sign import sign
from pipeline.cascade.on_demand import on_demand_plan
from pipeline.core.errors import ConfigError, InputError, StoreError
from pipeline.core.store import Store, ids_by_shard
from pipeline.embedding.stored import encoder_settings
from pipeline.images.manifest import stored_source
from pipeline.lab.filter_recall import BOTH
from tests.helpers import main_way
from tests.helpers.files import digests

FIXED = (
    "cascade.stages=[{stage: signature, keep: 0.5}, {stage: rough, keep: 0.3}, {stage: cnn}]",
    "cascade.recall=0.01",
)


def config(root, *overrides):
    small = (
        "ray.workers=0",
        "corpus.images=320",
        "source.shard_rows=80",
        f"sign.output={root}/signatures",
        "calibrate.fit_images=150",
        "calibrate.calibration_images=150",
        f"cascade.features={root}/features",
        f"cascade.output={root}/cascade",
    )
    return main_way.config(root, *small, *overrides)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("cascade")
    for job in (make_corpus, sign, calibrate):
        job(config(root))
    return root


def results(folder):
    return pq.read_table(folder / "results.parquet")


def test_calibrating_what_another_job_writes_is_refused(done):
    with (
        Store.open(done / "signatures").lock(),
        pytest.raises(StoreError, match="another job is writing"),
    ):
        calibrate(config(done))


def test_signatures_are_small_and_know_the_header(done):
    store = Store.open(done / "signatures", "signatures")
    assert list(store.problems()) == []
    table = store.read(0)
    assert table.schema.field("signature").type == pa.list_(pa.uint8(), 244)
    assert {"width", "height", "size", "label", "scene"} <= set(table.column_names)
    assert store.images() == 320


def test_calibrating_again_makes_nothing_and_tells_what_is_promised(done, capsys):
    before = digests(done / "signatures")
    calibrate(config(done, "cascade.recall=0.6"))
    said = capsys.readouterr().out
    assert "calibrated already" in said
    assert "recall by category of queries" in said
    calibrate(config(done, "cascade.recall=0.999"))
    assert "no cascade is proved to reach recall 0.999" in capsys.readouterr().out
    assert digests(done / "signatures") == before


@pytest.mark.ray
def test_workers_and_other_shards_give_the_same_answer(done, tmp_path, ray_cluster):
    first = cascade(config(done, *FIXED))
    cascade(config(done, *FIXED, "ray.workers=2", f"cascade.output={tmp_path}/two"))
    assert results(done / "cascade").equals(results(tmp_path / "two"))
    other = [
        *FIXED,
        "ray.workers=1",
        "source.shard_rows=40",
        f"sign.output={tmp_path}/signatures",
        f"cascade.features={tmp_path}/features",
        f"cascade.output={tmp_path}/cascade",
    ]
    for job in (sign, calibrate, cascade):
        job(config(done, *other))
    assert results(done / "cascade").equals(results(tmp_path / "cascade"))
    assert pq.read_table(done / "cascade" / "recall_costs.parquet").num_rows == 0  # all is fixed
    kept = first.funnel.kept
    assert (kept[0] == 320).all()
    assert (kept[1] < kept[0]).all()
    assert (kept[2] <= kept[1]).all()


def test_what_was_embedded_once_is_not_embedded_again(done, tmp_path):
    own = (*FIXED, f"cascade.features={tmp_path}/features")
    first, again = cascade(config(done, *own)), cascade(config(done, *own))
    assert first.funnel.made["cnn"] > 0
    assert again.funnel.made == {"rough": 0, "cnn": 0}
    assert np.array_equal(first.ids, again.ids)


def test_what_embed_has_made_is_taken_and_the_calibration_is_the_same(done, tmp_path, capsys):
    own = [f"sign.output={tmp_path}/signatures", f"cascade.features={tmp_path}/features"]
    own += [f"embed.output={tmp_path}/embeddings"]
    for job in (sign, embed, calibrate):
        job(config(done, *own))
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"of these by sluice embed before, in {tmp_path}/embeddings 300" in said
    for kept in ("features/attached/cnn", "signatures/attached"):
        mine, others = digests(tmp_path / kept), digests(done / kept)
        # What tells of the times that stages took differs.
        same = [n for n in others if n.endswith((".parquet", ".safetensors"))]
        assert same
        assert [mine[n] for n in same] == [others[n] for n in same]


@pytest.mark.parametrize("other", ["embed.input_size=32", "corpus.seed=1", "damaged", "unfinished"])
def test_what_is_of_other_bytes_or_another_encoder_is_not_taken(done, tmp_path, capsys, other):
    """The images of another seed have the same ids, but for the photos themselves other bytes."""
    made = [other] if "=" in other else []
    made += [f"corpus.output={tmp_path}/corpus", f"source.url={tmp_path}/corpus"]
    of = config(done, *made, "corpus.images=80", f"embed.output={tmp_path}/embeddings")
    for job in (make_corpus, embed):
        job(of)
    embedded, signed = (Store.open(at) for at in (of.embed.output, of.sign.output))
    if other == "damaged":
        shard = next((tmp_path / "embeddings" / "shards").rglob("*.parquet"))
        shard.write_bytes(shard.read_bytes()[:-9])
    if other == "unfinished":
        (tmp_path / "embeddings" / "manifest.json").unlink()
    cnn = encoder_settings(**config(done).embed.encoder())
    plan = on_demand_plan(stored_source(signed), signed, tmp_path / "features", cnn)
    by_shard = ids_by_shard(signed)
    taken = _take_embedded(of, plan, by_shard, np.concatenate(list(by_shard.values())))
    told = capsys.readouterr().err
    assert ("nothing is taken from" in told) == (other == "damaged")
    if other == "corpus.seed=1":
        one, same = (store.read(0, ["checksum"])["checksum"] for store in (embedded, signed))
        assert 0 < taken == pc.sum(pc.equal(one, same)).as_py() < len(one)
    else:
        assert taken == 0


def test_verify_covers_the_features_kept(done, tmp_path):
    kept = shutil.copytree(done / "features", tmp_path / "features")
    assert list(Store.open(kept, "features").problems()) == []
    segment = next((kept / "attached" / "cnn").rglob("*.parquet"))
    data = bytearray(segment.read_bytes())
    data[-20] ^= 1
    segment.write_bytes(data)
    verified = CliRunner().invoke(sluice, ["verify", str(kept)])
    assert isinstance(verified.exception, StoreError)
    assert f"{segment} does not have its recorded checksum" in str(verified.exception)


def test_results_are_printed_shown_and_reported_as_a_searchs(done, tmp_path, capsys):
    asked = ("search.queries=['id:0','id:9']", "search.sample_queries=0")
    own = (*FIXED, *asked, f"cascade.output={tmp_path}/c")
    run = cascade(config(done, *own))
    told = " ".join(capsys.readouterr().out.split())
    assert "2 queries, 320 images" in told
    assert "CNN runs saved" in told
    funnel = pq.read_table(tmp_path / "c" / "funnel.parquet").to_pylist()
    assert [row["measured"] for row in funnel] == [
        entered / 320 for entered in run.funnel.entered.tolist()
    ]
    assert funnel[-1]["planned"] == pytest.approx(funnel[-1]["measured"], abs=0.15)
    page = (tmp_path / "c" / "funnel.html").read_text()
    assert page.count("data:image/jpeg") == 22
    report(config(done, *own, f"report.results={tmp_path}/c", f"report.output={tmp_path}/r.html"))
    shown = (tmp_path / "r.html").read_text()
    body = shown[shown.index("<body>") :]
    assert body.count("data:image/jpeg") == 22
    assert "against brute force: at least" in body


def test_pictures_that_have_changed_are_blank_on_the_page_and_told(done, tmp_path):
    own = (*FIXED, f"cascade.output={tmp_path}/c")
    cascade(config(done, *own))
    shutil.copytree(done / "corpus", tmp_path / "corpus")
    shard = sorted((done / "corpus" / "shards").glob("*.parquet"))[0]
    table = pq.read_table(shard)
    other = table.set_column(
        table.column_names.index("bytes"), "bytes", [table["bytes"].to_pylist()[::-1]]
    )
    pq.write_table(other, shard)
    try:
        cascade(config(done, *own))
    finally:
        shutil.copy2(tmp_path / "corpus" / "shards" / shard.name, shard)  # with its date
    assert "(changed since it was embedded)" in (tmp_path / "c" / "funnel.html").read_text()
    assert results(tmp_path / "c").num_rows


@pytest.mark.parametrize("where", ["[smell, ==, cat]", "[label, '>', 5]", "[width, ==, cat]"])
def test_a_stage_that_cannot_ask_is_refused_before_anything_starts(done, tmp_path, where, capsys):
    stages = f"cascade.stages=[{{stage: metadata, where: [{where}]}}, {{stage: cnn}}]"
    own = (stages, f"cascade.output={tmp_path}/c", f"cascade.features={tmp_path}/features")
    with pytest.raises(ConfigError, match=r"no column smell|metadata filter cannot run"):
        cascade(config(done, *own))
    assert not (tmp_path / "features").exists()


def test_where_no_cascade_reaches_the_recall_everything_is_compared(done, tmp_path):
    run = cascade(config(done, "cascade.recall=0.999", f"cascade.output={tmp_path}/all"))
    assert run.plan.stages == ()
    embed(config(done))
    search(config(done))
    assert results(tmp_path / "all").equals(results(done / "search"))
    assert "every image was compared" in (tmp_path / "all" / "funnel.html").read_text()
    costs = pq.read_table(tmp_path / "all" / "recall_costs.parquet").to_pandas()
    exact = costs[costs["recall"] == 1.0]
    assert exact[["bound", "stage", "share"]].values.tolist() == [[1.0, "cnn", 1.0]]
    assert (costs["ms"] > 0).all()


def test_with_all_embeddings_the_cascade_is_pca_then_full_vectors(done, tmp_path):
    embed(config(done))
    search(config(done))
    stages = "cascade.stages=[{stage: pca, keep: 0.5}, {stage: cnn}]"
    own = (stages, "cascade.recall=0.01", f"cascade.output={tmp_path}/pca")
    run = cascade(config(done, *own))
    assert run.funnel.made == {"rough": 0, "cnn": 0}
    exact = results(done / "search").to_pandas().groupby("query_id")["id"].apply(set)
    found = results(tmp_path / "pca").to_pandas().groupby("query_id")["id"].apply(set)
    shared = [len(exact[query] & found[query]) for query in exact.index]
    assert np.mean(shared) > 9
    other = f"embed.output={tmp_path}/embeddings"
    embed(config(done, other, "source.shard_rows=40"))
    with pytest.raises(StoreError, match="same shards"):
        cascade(config(done, *own, other))


def test_a_metadata_stage_keeps_its_label_alone(done, tmp_path):
    stages = (
        "cascade.stages=[{stage: metadata, where: [[label, ==, cat], [width, '>=', 64]]}, "
        "{stage: signature}, {stage: cnn}]"
    )
    cascade(config(done, stages, f"cascade.output={tmp_path}/cat"))
    ids = results(tmp_path / "cat")["id"].to_pylist()
    store = Store.open(done / "signatures")
    table = pa.concat_tables(
        [store.read(e.shard, ["id", "label", "width"]) for e in store.manifest()]
    )
    labels = dict(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert ids
    assert {labels[number] for number in ids} == {"cat"}
    with pytest.raises(ConfigError, match="no column smell"):
        cascade(config(done, stages.replace("label", "smell")))
    learned = "cascade.stages=[{stage: signature}, {stage: cnn}]"
    where = "search.where=label = 'cat' and width >= 64"
    run = cascade(config(done, learned, where, f"cascade.output={tmp_path}/where"))
    assert results(tmp_path / "where").equals(results(tmp_path / "cat"))
    recalls = [pq.read_table(tmp_path / name / "recall.parquet") for name in ("cat", "where")]
    assert recalls[1]["found"][0] == recalls[0]["found"][0]
    assert 0 < recalls[1]["known"][0].as_py() < recalls[0]["known"][0].as_py()
    cats = pa.compute.and_(
        pa.compute.equal(table["label"], "cat"), pa.compute.greater_equal(table["width"], 64)
    )
    assert (run.funnel.kept[0] == pa.compute.sum(cats).as_py()).all()
    page = (tmp_path / "where" / "funnel.html").read_text()
    assert ("every image that passes was compared" in page) == (run.plan.stages == ())
    with pytest.raises(ConfigError, match="no column smell"):
        cascade(config(done, learned, "search.where=smell = 'cat'"))


def test_copies_are_found_and_files_can_ask(done, tmp_path, capsys):
    table = pq.read_table(sorted((done / "corpus" / "shards").glob("*.parquet")))
    query = tmp_path / "chelsea.jpg"
    query.write_bytes(table["bytes"][0].as_py())
    own = [f"search.queries=['{query}']", "search.sample_queries=0", *FIXED]
    run = cascade(config(done, *own, "cascade.neighbours=copies", f"cascade.output={tmp_path}/c"))
    said = " ".join(capsys.readouterr().out.split())
    assert "copies (changed by one or two of: colour, crop, flip, overlay, recompression," in said
    assert "recall by category of queries, proved at 0.95 " in said
    by_category = pq.read_table(tmp_path / "c" / "by_category.parquet").to_pylist()
    assert [(row["like"], row["bound"]) for row in by_category] == [("all", run.plan.bound)]
    assert len(set(run.ids[0].tolist()) & set(range(8))) >= 6
    (tmp_path / "chelsea.jpg").rename(tmp_path / "other.jpg")
    query.write_text("no photo")
    both = [f"search.queries=['{tmp_path}']", *own[1:]]
    run = cascade(config(done, *both, f"cascade.output={tmp_path}/c"))
    assert run.queries.keys == [f"{tmp_path}/other.jpg"]
    assert run.queries.refused[0].startswith(f"{query} (not-an-image: ")
    with pytest.raises(InputError, match=r"no query is a usable image: .*chelsea\.jpg"):
        cascade(config(done, *own))


def test_a_query_unlike_the_collection_can_be_compared_with_all_of_it(
    done, tmp_path, capsys, monkeypatch
):
    void = np.array([True, False])
    monkeypatch.setattr("pipeline.cascade.choice.unlike", lambda *_: void)
    own = ("search.queries=[id:3,id:200]", "search.sample_queries=0")
    compare = (*FIXED, "cascade.compare_void=true", f"cascade.output={tmp_path}/some")
    run = cascade(config(done, *own, *compare))
    assert (run.funnel.kept[:, 0] == 320).all()
    assert run.funnel.kept[-1, 1] < 150
    assert run.funnel.entered[2:].tolist() == [run.funnel.kept[1, 1], 320]
    said = " ".join(capsys.readouterr().out.split())
    assert "of its own images; they were compared with every image" in said
    assert "embedding everything once would cost" not in said
    cascade(config(done, *own, "cascade.stages=[{stage: cnn}]", f"cascade.output={tmp_path}/all"))
    some, everything = (results(tmp_path / name).slice(0, 10) for name in ("some", "all"))
    assert some.equals(everything)


def test_the_curves_of_the_filters(done):
    bench_recall(LabConfig(**dict(config(done))))
    table = pq.read_table(done / "cascade" / "filters.parquet").to_pandas()
    whole = table[table["keep"] == 0.5].set_index(["neighbours", "filter"])["recall"]
    assert whole["semantic", "learned: rough"] > whole["semantic", "hand-made: shape"]
    assert whole["copies", "learned: signature"] > 0.8
    assert (table["low"] <= table["recall"]).all()
    assert (table["recall"] <= table["high"]).all()


def test_a_promise_is_tried_on_any_folder(done, tmp_path, capsys):
    wanted = BenchPromiseConfig(output=tmp_path, trials=2, recalls=(0.5, 0.7), category="label")
    settings = LabConfig(**dict(config(done)), bench_promise=wanted)
    bench_promise(settings)
    assert "320 images; a calibration embeds 150 + 150 of them" in capsys.readouterr().out
    semantic, copies = (pq.read_table(tmp_path / f"{who}.parquet") for who in BOTH)
    assert semantic["asked"].to_pylist() == copies["asked"].to_pylist() == [0.5, 0.7] * 2
    assert copies["given"].to_numpy().min() > 0.5
    embedded = digests(tmp_path / "features")
    bench_promise(settings)
    assert digests(tmp_path / "features") == embedded
    assert pq.read_table(tmp_path / "copies.parquet").equals(copies)


def test_samples_that_leave_no_image_to_ask_with_are_refused(done, tmp_path):
    wanted = BenchPromiseConfig(output=tmp_path)
    many = config(done, "calibrate.fit_images=160", "calibrate.calibration_images=160")
    with pytest.raises(InputError, match="leave none of 320 images"):
        bench_promise(LabConfig(**dict(many), bench_promise=wanted))
    assert not list((tmp_path / "features").glob("**/*.parquet"))


def test_another_cnn_than_the_calibrations_is_refused(done, tmp_path):
    with pytest.raises(StoreError, match="calibrated for another CNN"):
        cascade(config(done, "embed.input_size=96", f"cascade.features={tmp_path}/features"))


def test_uncalibrated_and_too_few(tmp_path, jpegs):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, data in enumerate(jpegs):
        (photos / f"{number:02d}.jpg").write_bytes(data)
    few = config(tmp_path, f"source.url={photos}")
    sign(few)
    with pytest.raises(StoreError, match="run sluice calibrate first"):
        cascade(few)
    with pytest.raises(InputError, match="too few"):
        calibrate(few)
