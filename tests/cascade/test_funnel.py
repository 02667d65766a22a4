import numpy as np
import pyarrow as pa

from pipeline.cascade.funnel import Funnel


def part(kept, entered, milliseconds, made_cnn=0):
    values = {"kept": kept, "entered": entered, "milliseconds": milliseconds}
    lists = {name: [np.array(value)] for name, value in values.items()}
    return pa.table(
        lists | {"made_rough": [0], "made_cnn": [made_cnn], "silent": [np.empty(0, np.int64)]}
    )


def test_shards_add_up_and_a_deeper_question_only_takes_time():
    funnel = Funnel.empty(("signature",), 2)
    both = np.arange(2)
    funnel.add(part([10, 10, 3, 4], [10, 10, 6], [1.0, 2.0, 3.0], made_cnn=6), both, first=True)
    funnel.add(part([5, 5, 1, 0], [5, 5, 1], [1.0, 1.0, 1.0]), both, first=True)
    funnel.add(part([10, 3], [10, 10, 3], [0.0, 0.0, 2.0]), both[:1], first=False)
    rows = funnel.overall((1.0, 1.0, 0.4), (0.9,)).to_pylist()
    assert [row["stage"] for row in rows] == ["metadata", "signature", "cnn"]
    assert [row["entered"] for row in rows] == [15, 15, 7]
    assert [row["planned"] for row in rows] == [1.0, 1.0, 0.4]
    assert [row["measured"] for row in rows] == [1.0, 1.0, 7 / 15]
    assert [row["kept_a_query"] for row in rows] == [15.0, 4.0, None]
    assert [row["ms"] for row in rows] == [2.0, 3.0, 6.0]
    assert [row["recall_after"] for row in rows] == [1.0, 0.9, 0.9]
    assert funnel.made == {"rough": 0, "cnn": 6}
    first = funnel.by_query(["a", "b"]).to_pylist()
    assert first[1] == {"query": "a", "stage": "signature", "kept": 4}
    assert first[3] == {"query": "b", "stage": "signature", "kept": 4}
