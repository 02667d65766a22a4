import numpy as np

from pipeline.lab.scaling.emulated import EmulatedPlan, made_up_part


def test_an_emulated_shard_is_the_same_whoever_does_it():
    plan = EmulatedPlan(25, 10, 0.0, 3, 5)
    assert [plan.rows(shard) for shard in plan.shards] == [10, 10, 5]
    one, other = plan.start()(2), plan.start()(2)
    assert one["ids"] == other["ids"]
    parts = [made_up_part(shard, 3, 5) for shard in range(3)]
    assert len(np.unique([part.ids for part in parts])) == 45
    assert all((np.diff(part.scores) <= 0).all() for part in parts)
