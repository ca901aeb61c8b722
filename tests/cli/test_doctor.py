import json


def test_doctor(invkit):
    assert invkit("doctor")[0] == 0
    assert {"python", "libraries", "device", "plugins"} <= set(json.loads(invkit("doctor", "--json")[1]))
