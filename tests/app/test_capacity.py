"""How the needs of a large index are shown. Run: pytest tests/app/test_capacity.py"""

from dataclasses import replace

from app.capacity import print_plan
from indexing.capacity import Fleet, IndexSize, Plan


def test_a_plan_is_shown_in_units_a_reader_knows(capsys):
    plan = Plan(
        tracks=100_000_000,
        vectors=2_000_000_000,
        dim=512,
        shards=390_625,
        device="GPU",
        sizes=(
            IndexSize(name="exact", memory=4_096_000_000_000, disk=4_128_000_000_000),
            IndexSize(name="codes", memory=2_500_000_000, disk=40_000_000),
        ),
        fleets=(
            Fleet(devices=1, cores=3, hours=1_200.0),
            Fleet(devices=8, cores=20, hours=4.5),
            Fleet(devices=64, cores=160, hours=0.25),
        ),
    )

    print_plan(plan)

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines == [
        "100,000,000 tracks: 2,000,000,000 vectors of 512 numbers in 390,625 shards; the catalogue comes on top",
        "index memory disk",
        "exact 4.1 TB 4.13 TB",
        "codes 2.5 GB 40 MB",
        "GPUs cores to decode time to embed",
        "1 3 50 days",
        "8 20 4.5 h",
        "64 160 15 min",
    ]

    print_plan(replace(plan, device="CPU"))
    assert "CPUs like this  cores to decode" in capsys.readouterr().out
