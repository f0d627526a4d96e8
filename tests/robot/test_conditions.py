"""When a robot may upload: the user's words, the power supplies, and the decisions on them."""

import json
import os
from datetime import datetime, time
from pathlib import Path

import pytest

from components.contracts.errors import ConfigurationError
from components.robot._conditions import (
    POWER_FILE,
    RULES_FILE,
    Power,
    TokenBucket,
    UploadRules,
    in_window,
    read_power,
    read_rules,
    why_not_now,
)

NOON, NIGHT = datetime(2026, 5, 1, 12, 0), datetime(2026, 5, 1, 23, 30)  # noqa: DTZ001  # local times are meant


@pytest.mark.parametrize(
    ("window", "now", "inside"),
    [
        ("08:00-17:00", time(8, 0), True),
        ("08:00-17:00", time(16, 59, 59), True),
        ("08:00-17:00", time(17, 0), False),
        ("08:00-17:00", time(0, 0), False),
        ("22:00-06:00", time(22, 0), True),
        ("22:00-06:00", time(0, 0), True),
        ("22:00-06:00", time(5, 59), True),
        ("22:00-06:00", time(6, 0), False),
        ("22:00-06:00", time(12, 0), False),
        ("00:00-23:59", time(23, 59), False),
    ],
)
def test_a_window_holds_its_start_and_not_its_end_over_midnight_too(window: str, now: time, inside: bool) -> None:
    assert in_window(window, now) is inside


@pytest.mark.parametrize(
    ("rules", "power", "reason"),
    [
        ({}, Power(), None),
        ({"upload_window": "22:00-06:00"}, Power(), "it is 12:00, uploads run 22:00-06:00"),
        ({"upload_window": "09:00-13:00"}, Power(), None),
        ({"dock_only": True}, Power(docked=True), None),
        ({"dock_only": True}, Power(docked=False), "the robot is not on its dock"),
        ({"dock_only": True}, Power(), "nobody knows whether the robot is docked"),
        ({"min_battery_percent": 40}, Power(battery_percent=40), None),
        ({"min_battery_percent": 40}, Power(battery_percent=39.5), "the battery is at 39.5 %, uploads need 40 %"),
        ({"min_battery_percent": 40}, Power(battery_percent=5, docked=True), None),
        ({"min_battery_percent": 40}, Power(), "nobody knows the battery's charge, uploads need 40 %"),
    ],
)
def test_each_rule_forbids_with_its_reason(rules: dict[str, object], power: Power, reason: str | None) -> None:
    assert why_not_now(UploadRules(**rules), power, NOON) == reason  # type: ignore[arg-type]


def test_the_night_is_in_a_window_over_midnight() -> None:
    assert why_not_now(UploadRules(upload_window="22:00-06:00"), Power(), NIGHT) is None


def test_the_environment_outranks_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / RULES_FILE).write_text('upload_window = "22:00-06:00"\nbandwidth_kib_s = 512\n')
    assert read_rules(tmp_path) == UploadRules(upload_window="22:00-06:00", bandwidth_kib_s=512)
    monkeypatch.setenv("DROVER_ROBOT_BANDWIDTH_KIB_S", "64")
    monkeypatch.setenv("DROVER_ROBOT_S3_KEY", "someone else's setting")
    assert read_rules(tmp_path) == UploadRules(upload_window="22:00-06:00", bandwidth_kib_s=64)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('upload_window = "at night"', "upload_window"),
        ('upload_window = "06:00-06:00"', "two different local times"),
        ("bandwidth_kib_s = 0", "bandwidth_kib_s"),
        ("min_battery_percent = 140", "min_battery_percent"),
        ("bandwith = 5", "bandwith"),
        ("not toml", "expected TOML"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named_and_nothing_is_uploaded(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / RULES_FILE).write_text(text)
    with pytest.raises(ConfigurationError, match=named):
        read_rules(tmp_path)


def _supply(folder: Path, name: str, **words: str) -> None:
    (folder / name).mkdir(parents=True)
    for word, value in words.items():
        (folder / name / word).write_text(value + "\n")


def test_power_comes_from_the_kernel_and_the_emptiest_battery_counts(tmp_path: Path) -> None:
    supplies = tmp_path / "power_supply"
    assert read_power(tmp_path, supplies=supplies) == Power()
    _supply(supplies, "BAT0", type="Battery", capacity="80")
    _supply(supplies, "BAT1", type="Battery", capacity="31")
    _supply(supplies, "BAT2", type="Battery")
    assert read_power(tmp_path, supplies=supplies) == Power(battery_percent=31)
    _supply(supplies, "ADP1", type="Mains", online="0")
    assert read_power(tmp_path, supplies=supplies) == Power(battery_percent=31, docked=False)
    _supply(supplies, "usb", type="USB", online="1")
    assert read_power(tmp_path, supplies=supplies) == Power(battery_percent=31, docked=True)


def test_a_drivers_word_outranks_the_kernel_while_it_is_fresh(tmp_path: Path) -> None:
    supplies = tmp_path / "power_supply"
    _supply(supplies, "BAT0", type="Battery", capacity="80")
    path = tmp_path / POWER_FILE
    path.write_text(json.dumps({"battery_percent": 12.5, "docked": False}))
    assert read_power(tmp_path, supplies=supplies) == Power(battery_percent=12.5, docked=False)
    os.utime(path, (0, 0))  # the driver has died
    assert read_power(tmp_path, supplies=supplies) == Power(battery_percent=80)
    path.write_text("{")
    assert read_power(tmp_path, supplies=supplies) == Power(battery_percent=80)


def test_a_bucket_lets_a_seconds_worth_through_and_then_keeps_the_rate() -> None:
    bucket, now, sent = TokenBucket(1000), 0.0, 0
    while now < 60:
        now += bucket.delay(64, now)
        sent += 64
    assert 60_000 <= sent <= 61_200  # the rate, and one burst


def test_a_bucket_does_not_save_up_more_than_a_burst_and_a_clock_that_goes_back_adds_nothing() -> None:
    bucket = TokenBucket(1000)
    assert bucket.delay(1000, 0.0) == 0
    assert bucket.delay(1000, 1000.0) == 0
    assert bucket.delay(1000, 1000.0) == 1.0
    assert bucket.delay(0, 0.0) == 1.0
