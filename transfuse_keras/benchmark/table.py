"""What `transfuse benchmark` prints."""

from transfuse_keras.benchmark.recommend import describe_recommendation
from transfuse_keras.files import format_table

TABLE_COLUMNS = {  # key -> (head, decimals)
    "latency_ms": ("median ms", 1),
    "p95_ms": ("p95 ms", 1),
    "images_per_second": ("images/s", 1),
    "peak_share": ("of peak", 0),
    "memory_mb": ("memory MB", 0),
    "load_seconds": ("load s", 2),
    "file_mb": ("file MB", 1),
}
CAPTION = """\
One image at a time; images/s is 1 / median. Share of peak: GFLOP of an image / median, of the speed
of a float32 matrix product; int8 and bf16 may exceed 100 %. Memory: the most that a process held,
with Python and the runtime. Load: from opening the file to the first result, imports excluded."""


def format_benchmark(result):
    """Lines of a table of what `benchmark` returns."""
    machine, rows, recommended = result["machine"], result["rows"], result["recommended"]
    gflop = "" if result["gflop"] is None else f", {result['gflop']:.2f} GFLOP each"
    rows = [
        [row["file"], row["runtime"], *(format_cell(key, row[key]) for key in TABLE_COLUMNS)]
        for row in rows
    ]
    return [
        f"{machine['cpu']}, threads: {machine['threads']}, float32 matrix product: "
        f"{machine['peak_gflops']:.0f} GFLOP/s",
        f"Images of {size_text(result['image_size'])}{gflop}, {result['rounds']} rounds",
        "",
        *format_table(["file", "runtime", *(head for head, _ in TABLE_COLUMNS.values())], rows, 2),
        "",
        *CAPTION.splitlines(),
        *(["", *describe_recommendation(recommended, machine)] if recommended else []),
    ]


def format_cell(key, value):
    if value is None:
        return "-"
    digits = TABLE_COLUMNS[key][1]
    return f"{100 * value:.{digits}f} %" if key == "peak_share" else f"{value:.{digits}f}"


def size_text(size):
    return f"{size[0]}x{size[1]}"
