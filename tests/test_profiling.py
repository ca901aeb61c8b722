from test_training import trainer

from invkit.profiling import PARTS, profile_steps, profile_text


def test_the_parts_make_up_the_step():
    rows = profile_steps(trainer({"steps": 20}), steps=2)
    assert [row["part"] for row in rows] == [*PARTS.values(), "rest", "step"]
    step = rows[-1]["ms"]
    assert 0.7 * step < sum(row["ms"] for row in rows[:-1]) < 1.3 * step
    by = {row["part"]: row["share"] for row in rows}
    assert by["network, forward"] > 0.02 and by["backward"] > 0.02 and by["step"] == 1
    assert "images/s at train.batch=8" in profile_text(rows, 8)
