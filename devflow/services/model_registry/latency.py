"""Histograms of durations that add up: counts by bucket, each bucket 10 % wider than the last.

A histogram is a JSON object of bucket to count, as provider_performance_metrics holds it. Sums of
histograms are histograms, so percentiles of days, weeks and providers come from the same rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

__all__ = ["added", "bucket_of", "merged", "percentile_ms", "read_histogram"]

_GROWTH = math.log(1.1)
_FINEST_MS = 0.01
_BUCKET_MAX = 400  # beyond any duration that a float of milliseconds is worth


def bucket_of(duration_ms: float) -> int:
    """Return the bucket: 0 is below 0.01 ms, bucket n ends at 0.01 ms times 1.1 ** n."""
    if not duration_ms > _FINEST_MS:
        return 0
    return math.ceil(min(_BUCKET_MAX, math.log(duration_ms / _FINEST_MS) / _GROWTH))


def read_histogram(text: object) -> dict[int, int]:
    """Return the counts by bucket; what is no histogram counts nothing."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
        pairs = {int(bucket): int(count) for bucket, count in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
    return {b: count for b, count in pairs.items() if 0 <= b <= _BUCKET_MAX and count > 0}


def added(text: object, duration_ms: float) -> str:
    """Return the histogram's JSON with one more duration in it."""
    counts = read_histogram(text)
    bucket = bucket_of(duration_ms)
    counts[bucket] = counts.get(bucket, 0) + 1
    return json.dumps({str(b): counts[b] for b in sorted(counts)})


def merged(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Return the sum of histograms."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for bucket, count in histogram.items():
            total[bucket] = total.get(bucket, 0) + count
    return total


def percentile_ms(histogram: Mapping[int, int], share: float) -> float | None:
    """Return the duration that `share` (0..1) of those counted do not exceed, 5 % wrong at most.

    None where nothing is counted.
    """
    left = math.ceil(share * sum(histogram.values()))
    for bucket in sorted(histogram):
        left -= histogram[bucket]
        if left <= 0:  # the middle of the bucket, by ratio
            return round(_FINEST_MS * math.exp(_GROWTH * max(0.0, bucket - 0.5)), 4)
    return None
