from .city_files import (
    read_city as read_city,
)
from .city_files import (
    read_half_averages as read_half_averages,
)
from .city_files import (
    write_city as write_city,
)
from .dataset import (
    WindDataset as WindDataset,
)
from .dataset import (
    find_case as find_case,
)
from .dataset import (
    list_cases as list_cases,
)
from .dataset import (
    load_case as load_case,
)
from .dataset import (
    load_dataset as load_dataset,
)
from .netcdf import (
    write_netcdf as write_netcdf,
)
