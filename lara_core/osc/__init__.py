"""The bridge to a DAW over OSC: messages come in and become values, a recorded curve and music; messages go back.

    protocol    the table of addresses, and packets <-> messages
    receiver    the socket: packets -> values and the transport's beat, for everyone in this process
    recorder    a pass of the transport -> a Curve on the song's beats
    live        the transport plays -> the next bars are generated, just before they are needed
    ableton     finds valence and arousal in Ableton Live through AbletonOSC
"""
