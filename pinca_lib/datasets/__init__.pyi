from .city_files import (
    read_city as read_city,
    read_half_averages as read_half_averages,
    write_city as write_city,
)
from .dataset import (
    WindDataset as WindDataset,
    find_case as find_case,
    list_cases as list_cases,
    load_case as load_case,
    load_dataset as load_dataset,
)
from .netcdf import (
    write_netcdf as write_netcdf,
)
