import json
import re
import time
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from cluster.metrics import COUNTS
from cluster.shard_map import map_shards
from pipeline.core.shard_stats import shard_stats

DASHBOARD = Path(__file__).parents[2] / "cluster" / "deploy" / "grafana_dashboard.json"


class MetricsPlan:
    """Stats of ten images and 500 bytes a shard, one of them quarantined."""

    name = "measured"

    def start(self):
        return lambda shard: shard_stats(shard, 10, time.time() - 2, bytes=500, quarantined=1)


def scrape():
    """Return the text of every node's metrics endpoint."""
    texts = []
    for node in ray.nodes():
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        texts.append(urllib.request.urlopen(url, timeout=5).read().decode())
    return "\n".join(texts)


def total(text, name):
    lines = re.findall(rf'^{name}{{.*stage="measured".*}} (\S+)$', text, re.MULTILINE)
    return sum(float(value) for value in lines)


@pytest.mark.ray
def test_the_metrics_endpoint_tells_what_the_shards_did(ray_cluster):
    done = pa.concat_tables(map_shards(MetricsPlan(), range(4), 2))
    assert done.num_rows == 4
    for _ in range(60):
        text = scrape()
        if total(text, "ray_sluice_images_total") >= 40:
            break
        time.sleep(0.5)
    assert total(text, "ray_sluice_images_total") == 40
    assert total(text, "ray_sluice_bytes_total") == 2000
    assert total(text, "ray_sluice_quarantined_total") == 4
    assert total(text, "ray_sluice_shard_seconds_count") == 4


def test_the_dashboard_asks_for_metrics_that_there_are():
    asked = "".join(p["targets"][0]["expr"] for p in json.loads(DASHBOARD.read_text())["panels"])
    known = {f"ray_{name}_total" for name in COUNTS.values()} | {"ray_sluice_shard_seconds_bucket"}
    assert set(re.findall(r"ray_sluice_\w+", asked)) == known
