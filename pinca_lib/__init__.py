"""PI-NCA: pedestrian wind between buildings from a physics-informed neural cellular automaton.

The rooms, from the ground up; each imports only from those before it:

``errors``, ``channels``   what is said to people; the state: names, order, units
``physics``                the laws of a mean flow, as residuals and bounds
``automaton``              the rule, its coarser cells, the frame of the wind
``rollouts``               many steps: ``rollout`` on a CPU, on a GPU, in plain PyTorch
``datasets``               simulated cases
``cities``                 a place and its buildings
``evaluation``             how right a rule is, and where it does not apply
``training``               sample pool, losses, descent
``runs``                   parameters, run folders, checkpoints
``plotting``               figures and films
``viewer``                 the live rollout

What people use comes from here: ``from pinca_lib import CA, load_dataset, rollout``. A name is
imported when it is first used.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
