import pytest

from pipeline.cascade.sampler import changed_copy


@pytest.mark.parametrize("number", [-(2**63), -1, 0, 2**63 - 1])
def test_a_copy_is_made_of_an_image_of_any_id(jpegs, number):
    copy, transform = changed_copy(jpegs[0], number)
    assert copy.startswith(b"\xff\xd8")
    assert "+" in transform
    assert changed_copy(jpegs[0], number) == (copy, transform)
