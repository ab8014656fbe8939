"""`mulan index …` for large indexes: tune the engine, copy vectors to Milvus, and say what a size takes."""

import json
import math
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from app import console
from app.indexing import IndexFolder
from app.opening import COLLECTION, URI, CollectionOption, address_at
from app.options import DEFAULT_MODEL, Device, JsonOption, Model, Precision, PrecisionOption, load_model
from data.errors import ConfigError, MulanError

app = typer.Typer()


class Store(StrEnum):
    """Where vectors can be copied to."""

    MILVUS = "milvus"


class MilvusIndex(StrEnum):
    """How Milvus searches: FLAT scores every vector; Milvus Lite has no DISKANN."""

    FLAT = "FLAT"
    IVF_SQ8 = "IVF_SQ8"
    HNSW = "HNSW"
    DISKANN = "DISKANN"


@app.command("tune")
def tune(
    index: IndexFolder,
    recall: Annotated[float, typer.Option(min=0.5, max=1, help="Share of the best ten that has to be found.")] = 0.95,
    memory_mb: Annotated[
        int | None, typer.Option("--memory-mb", min=1, help="Megabytes that the engine may take; else it stays as big.")
    ] = None,
    latency_ms: Annotated[
        float, typer.Option("--latency-ms", min=0.1, help="Milliseconds that a query should take.")
    ] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Measure recall and time on an index's own vectors, and search it in the quickest way that finds enough.

    Queries lie between the vectors, as those of texts do. What is chosen holds for every later search.

    Example: mulan index tune --index ~/music.index --recall 0.98
    """
    from app.search_figures import print_tuning
    from indexing.upkeep import tune_engine

    with console.count_progress("building") as on_build, console.count_progress("measuring") as on_measure:
        curve = tune_engine(
            index,
            recall=recall,
            memory_bytes=None if memory_mb is None else memory_mb * 1_000_000,
            latency_ms=latency_ms,
            on_build=on_build,
            on_measure=on_measure,
        )
    if curve is None:
        console.note(f"{index}: exact search is best for an index of this size; there is nothing to tune")
        return
    best = curve.cheapest(recall)
    if as_json:
        print(json.dumps({**asdict(curve), "chosen": None if best is None else asdict(best)}))
    else:
        print_tuning(curve, recall)
    if best is None:
        most = max(point.timing.recall for point in curve.points)
        raise MulanError(f"{index}: no way finds {recall:g}, at most {most:.4f}; not tuned; give more --memory-mb")
    if best.timing.p50_ms > latency_ms:
        console.note(f"{best.timing.p50_ms:.1f} ms are above --latency-ms {latency_ms:g}; a lower --recall is quicker")
    console.note(f"{index}: searched so from now on")


@app.command("move")
def move(
    index: IndexFolder,
    to: Annotated[Store, typer.Option(help="What to copy the vectors to.")],
    uri: Annotated[str, URI],
    index_type: Annotated[
        MilvusIndex, typer.Option(help="How Milvus searches; only FLAT is exact.")
    ] = MilvusIndex.FLAT,
    collection: CollectionOption = COLLECTION,
) -> None:
    """Copy an index's vectors to Milvus, and compare the answers; interrupted, it goes on where it was.

    After a sync, it copies what is new and removes what is gone. The index stays, for tracks, filters
    and scores come from it. Then search with --engine milvus --uri URI.

    Example: mulan index move --index ~/music.index --to milvus --uri library.db
    """
    from indexing.milvus import move_to_milvus

    address = address_at(uri, collection)
    with console.count_progress("copying") as on_progress:
        report = move_to_milvus(index, address, index_type=index_type.value, on_progress=on_progress)
    console.results.print(f"in {to}    {report.rows:,} vectors in {report.shards:,} shards, counted there")
    console.results.print(f"copied       {report.copied_rows:,} vectors in {report.copied_shards:,} shards")
    console.results.print(f"removed      {report.removed_rows:,} vectors of tracks that are gone or half copied")
    console.results.print(f"recall@10    {report.recall:.4f} of the exact engine's answers to {report.queries} queries")
    console.note(f"{index} copied to {address} in {report.elapsed:.1f} s; mulan search … --engine {to} --uri {uri}")


@app.command("plan")
def plan(
    tracks: Annotated[int, typer.Option(min=1, help="Tracks that the index is to hold.")],
    seconds_per_track: Annotated[float, typer.Option(min=1, help="How long they are on average.")] = 240.0,
    gpu_rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Windows that a GPU embeds in a second; else this machine's GPU or CPU."),
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Say what an index takes: vectors, memory and disk by engine, GPUs or CPUs, cores and hours.

    How fast this machine embeds and decodes is measured, which takes some seconds; so let it do nothing else.

    Example: mulan index plan --tracks 100000000
    """
    from app.capacity import print_plan
    from app.demo import DEMO_LIBRARY
    from indexing.capacity import Rates, measure_rates
    from indexing.capacity import plan as plan_index

    encoder = load_model(model, device, precision, bulk=True)
    if not encoder.clip_seconds:
        raise ConfigError(f"{model}: hears nothing, so there are no windows to plan for; name a model of music")
    rates = measure_rates(encoder, sorted(DEMO_LIBRARY.glob("*.opus")))
    console.note(
        f"measured here: {rates.embedded_per_second:,.1f} windows/s embedded, {rates.decoded_per_second:,.1f} windows/s"
        " decoded by a core"
    )
    if gpu_rate is not None:
        rates = Rates(device="GPU", embedded_per_second=gpu_rate, decoded_per_second=rates.decoded_per_second)
    elif rates.device == "CPU":
        console.note("without --gpu-rate, the times are those of CPUs like this one, all of whose cores embed")
    windows = math.ceil(seconds_per_track / encoder.clip_seconds)
    needs = plan_index(tracks, windows_per_track=windows, dim=encoder.dim, rates=rates)
    if as_json:
        per_second = {"embedded_per_second": rates.embedded_per_second, "decoded_per_second": rates.decoded_per_second}
        print(json.dumps({**asdict(needs), "rates": per_second}))
    else:
        print_plan(needs)
