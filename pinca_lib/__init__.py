"""PI-NCA: pedestrian wind between buildings from a physics-informed neural cellular automaton.

The rooms of this library, each importing only from the floors below it:

===== ============================================= ==================================
floor rooms                                         subject
===== ============================================= ==================================
0     ``channels``, ``devices``, ``errors``         what a state is made of
1     ``datasets``, ``automaton``, ``physics``      cities, the rule, its laws
2     ``urbantales``, ``rollout``, ``metrics``,     raw data in, many steps, scores,
      ``texture``, ``pool``                         the losses' and the loop's material
3     ``parameters``, ``runs``, ``training``        a reproducible experiment
4     ``plotting``, ``video``, ``viewer``           what people look at
===== ============================================= ==================================
"""

__version__ = "0.1.0"
