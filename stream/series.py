"""Small numbers for names: the devices and (device, sensor) series that a partition has seen."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

from models.tables import Coded

Int32 = npt.NDArray[np.int32]
UNKNOWN = -1


class Series:
    """Numbers devices and series from 0 in order of appearance, up to `max_devices` and `max_series` of them."""

    def __init__(self, max_devices: int, max_series: int) -> None:
        self.max_devices = max_devices
        self.max_series = max_series
        self.devices: list[str] = []
        self.sensors: list[str] = []
        self._device_ids: dict[str, int] = {}
        self._sensor_ids: dict[str, int] = {}
        # By sensor number << 32 | device number: integers are cheaper than tuples of names.
        self._series_ids: dict[int, int] = {}
        self._of = np.empty((2, 0), dtype=np.int32)
        """Device and sensor number of each series; grows by doubling, `_count` columns are in use."""
        self._count = 0

    @classmethod
    def restored(
        cls,
        max_devices: int,
        max_series: int,
        devices: Sequence[str],
        sensors: Sequence[str],
        device_of: Int32,
        sensor_of: Int32,
    ) -> "Series":
        """The numbering that gave these names and numbers."""
        series = cls(max_devices, max_series)
        series.devices, series.sensors = list(devices), list(sensors)
        series._device_ids = {name: i for i, name in enumerate(series.devices)}
        series._sensor_ids = {name: i for i, name in enumerate(series.sensors)}
        series._of, series._count = np.stack((device_of, sensor_of)), len(device_of)
        keys = (sensor_of.astype(np.int64) << 32 | device_of).tolist()
        series._series_ids = {key: i for i, key in enumerate(keys)}
        return series

    def device_ids(self, names: Sequence[str]) -> Int32:
        """Number of each device; UNKNOWN for a new one beyond `max_devices`."""
        get = self._device_ids.get
        ids = np.fromiter(map(get, names, repeat(UNKNOWN)), dtype=np.int32, count=len(names))
        for i in np.flatnonzero(ids == UNKNOWN).tolist():
            ids[i] = self._device_id(names[i])
        return ids

    def series_ids(self, device: Int32, sensors: Sequence[str]) -> Int32:
        """Number of each (device number, sensor) pair; UNKNOWN for a new one beyond `max_series`."""
        sensor = np.fromiter(map(self._sensor_ids.get, sensors, repeat(UNKNOWN)), dtype=np.int64, count=len(sensors))
        keys = (sensor << 32 | device).tolist()
        ids = np.fromiter(map(self._series_ids.get, keys, repeat(UNKNOWN)), dtype=np.int32, count=len(keys))
        for i in np.flatnonzero(ids == UNKNOWN).tolist():
            ids[i] = self._series_id(int(device[i]), sensors[i])
        return ids

    @property
    def device_of(self) -> Int32:
        """Device number of each series."""
        return self._of[0, : self._count]

    @property
    def sensor_of(self) -> Int32:
        """Sensor number of each series: its place in `sensors`."""
        return self._of[1, : self._count]

    def names_of(self, series: Int32) -> tuple[Coded, Coded]:
        """Device and sensor names of a column of series."""
        distinct, place = np.unique(series, return_inverse=True)
        device = Coded.of([self.devices[number] for number in self.device_of[distinct].tolist()])
        sensor = Coded.of([self.sensors[number] for number in self.sensor_of[distinct].tolist()])
        return device.at(place), sensor.at(place)

    def _device_id(self, name: str) -> int:
        known = self._device_ids.get(name)
        if known is not None:
            return known
        return UNKNOWN if len(self.devices) >= self.max_devices else self._new_device(name)

    def _new_device(self, name: str) -> int:
        self._device_ids[name] = number = len(self.devices)
        self.devices.append(name)
        return number

    def _series_id(self, device: int, name: str) -> int:
        if self._count >= self.max_series:
            return self._series_ids.get(self._sensor_ids.get(name, UNKNOWN) << 32 | device, UNKNOWN)
        sensor = self._sensor_ids.get(name)
        if sensor is None:
            sensor = self._sensor_ids[name] = len(self.sensors)
            self.sensors.append(name)
        key = sensor << 32 | device
        known = self._series_ids.get(key)
        if known is not None:
            return known
        if self._count == self._of.shape[1]:
            self._of = np.concatenate((self._of, np.zeros((2, max(64, self._count)), dtype=np.int32)), axis=1)
        self._series_ids[key] = number = self._count
        self._of[:, number] = device, sensor
        self._count += 1
        return number
