"""A rendered soccer broadcast: a game, its actions, cameras and replays, drawn at any frame rate.

`match.py` plays a half (22 players, ball, referee; four states a second), `broadcast.py` decides what is on the air
(main camera, close-ups, replays between wipes) and which actions are shown, `drawing.py` draws a moment of it. How
often each action comes, how often it is not shown, and number and length of replays follow SoccerNet-v2's labels; how
long after an action its replay begins is not in those data and is an assumption (`broadcast.DELAY`).
"""
