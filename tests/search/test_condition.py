"""What a condition lets pass, and what is refused as one."""

import pyarrow as pa
import pytest

from pipeline.core.errors import ConfigError
from pipeline.search.condition import condition_over

TABLE = pa.table(
    {
        "id": [1, 2, 3],
        "label": ["cat", "dog", None],
        "width": pa.array([100, 900, 1000], pa.int32()),
        "user": ["a", "b", "c"],
        "two words": [1, 2, 3],
        "tags": [["a"], ["b"], None],
        "exif": [{"iso": 3}, None, {"iso": 5}],
        "sharp": [1.0, float("nan"), None],
        "day": pa.array([0, 1, 2], pa.date32()),
        "view": pa.array(["a", "b", None], pa.string_view()),
        "blob": [b"0", b"1", None],
        "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        "half": pa.array([1, 2, 3], pa.float16()),
        "Mixed": [1, 2, 3],
        "mixed": [3, 2, 1],
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array([0.5] * 6), 2),
    }
)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("label = 'cat' and width >= 800", []),
        ("label = 'dog' AND Width >= 800", [2]),
        ("label <> 'cat'", [2]),
        ("not (label = 'cat')", [2]),
        ("label <> 'cat' or label is null", [2, 3]),
        ("label = 'cat' -- the blue ones", [1]),
        ("label in ('cat', 'it''s') or width between 950 and 2000", [1, 3]),
        ("label like 'c%'", [1]),
        ("user = 'b'", [2]),
        ('"two words" = 2', [2]),
        ("list_contains(tags, 'a')", [1]),
        ("len(list_filter(tags, lambda tag: tag = 'b')) > 0", [2]),
        ("exif.iso > 3", [3]),
        ("sharp <= 'nan'::double", [1, 2]),
        ("day > '1970-01-02'", [3]),
        ("view = 'a'", [1]),
        ("blob = '0'", [1]),
        ("kind = 'z'", []),
        ("Mixed = 1", [1]),
        ("mixed = 1", [3]),
        ("true", [1, 2, 3]),
        ("case when width > 500 then label = 'dog' else true end", [1, 2]),
        (" or ".join(["width = 100"] * 500), [1]),
    ],
)
def test_what_sql_would_let_pass_does(text, ids):
    held = condition_over(text, TABLE.schema).holds(TABLE)
    assert TABLE["id"].filter(pa.array(held)).to_pylist() == ids


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("colour = 'red'", "there is no column colour; .* over the columns id, label, width"),
        ('label = "cat"', "there is no column cat; text stands in single quotes"),
        ("images.label = 'cat'", "there is no column images"),
        ("embedding is null", "there is no column embedding"),
        ("day < current_date", "there is no column current_date"),
        ("MIXED = 1 and Mixed = 1", "two columns differ in case alone"),
        ("label = ", "syntax error"),
        ("label == 'ca", "unterminated"),
        (" ", "it is empty"),
        ("label", "it is VARCHAR, not true or false"),
        ("width = 'a'", "Could not convert string 'a'"),
        ("half > 1", "Unsupported Internal Arrow Type"),
        ("label = 'cat' limit 1", "syntax error"),
        ("label = 'cat') or (true", "syntax error"),
        ("sum(width) > 1", "cannot contain aggregates"),
        ("row_number() over () = 1", "cannot contain window functions"),
        ("columns(*) is null", "columns are asked about by name"),
        ("width = (select max(width) from images)", "it asks about more than one image"),
        ("Random() < .5", "random does not give the same for an image always"),
        ("now() > '2020-01-01'", "now does not give the same for an image always"),
        ("label = ?", "prepared parameter"),
        ("1=1; copy (select 1) to '{file}'", "syntax error"),
        ("id in (select 1 from read_csv('/etc/passwd'))", "it asks about more than one image"),
        ("read_text('/etc/passwd') is null", "is a table function"),
        ("1=1 union select 1 from '/etc/passwd'", "syntax error"),
    ],
)
def test_what_is_no_condition_on_one_image_is_refused(tmp_path, text, reason):
    file = tmp_path / "written"
    with pytest.raises(ConfigError, match=rf"(?s)search\.where cannot be .*{reason}"):
        condition_over(text.replace("{file}", str(file)), TABLE.schema)
    assert not file.exists()


def test_a_value_that_cannot_be_compared_is_told_and_a_column_that_is_lacking_is_null():
    number = condition_over("label::int > 1 or id = 0", TABLE.schema)
    with pytest.raises(ConfigError, match="Could not convert string 'cat' to INT32"):
        number.holds(TABLE)
    assert number.columns == ("id", "label")
    assert number.holds(TABLE.select(["id"])).tolist() == [False] * 3
