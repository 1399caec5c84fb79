"""Two examples or more for every command, which ``--help`` and docs/cli.md show. Lines are at most 76 columns wide."""

from __future__ import annotations

EXAMPLES = {
    "musetalk": """\
# The example voice that ships, to hello.mp4
musetalk render --demo
# A video next to the audio file
musetalk render speech.wav
# Speak live into a player
musetalk stream --mic | ffplay -
""",
    "musetalk render": """\
# The example voice that ships, to hello.mp4
musetalk render --demo
# Writes speech.mp4, spoken by the built-in avatar nora
musetalk render speech.wav
# Your own face, full size, for a file to keep
musetalk render talk.mp3 --avatar me.jpg --preset quality -o me.mp4
# From one pipe into another
espeak-ng --stdout "Good morning" | musetalk render - -o - | ffplay -
# A video for each voice of a folder; run again, it makes what is missing
musetalk render voices/ -o videos/ --report report.jsonl --resume
""",
    "musetalk dub": """\
# A film with another voice; its own audio is heard softly
musetalk dub clip.mp4 french.wav -o french.mp4 --keep-sound -18dB
# The clip speaks its own audio again: a check of the mouth
musetalk dub clip.mp4 -o again.mp4
# Two people
musetalk dub talk.mp4 --face left=anna.wav --face right=ben.wav
""",
    "musetalk stream": """\
# The example voice that ships, without a microphone
musetalk stream --demo | ffplay -
# Speak into a player
musetalk stream --mic | ffplay -
# Two targets, one encoder
musetalk stream --mic -o rtmp://host/live/key -o take.mp4
# A radio station as HLS, in a folder
musetalk stream --input https://host/radio.mp3 -o hls/
# Raw samples of a speech synthesiser
tts | musetalk stream --input - --format s16le --rate 24000 -o out.mp4
""",
    "musetalk serve": """\
# A page at http://127.0.0.1:8900/
musetalk serve
# For other computers, with a token, and two avatars to choose from
musetalk serve --host 0.0.0.0 --token-file token --allow-avatar anna
""",
    "musetalk prepare-avatar": """\
# The avatar "me"
musetalk prepare-avatar me.jpg
# Twenty seconds of a video, and a contact sheet to look at
musetalk prepare-avatar talk.mp4 --name anna --start 12 --max-seconds 20 \\
    --preview anna.png
""",
    "musetalk avatars": """\
# All avatars
musetalk avatars
# Their names, for a script
musetalk avatars --json | jq -r '.[].name'
""",
    "musetalk avatars list": """\
# All avatars
musetalk avatars list
# Those of another folder
musetalk avatars list --avatar-dir ~/team/avatars
""",
    "musetalk avatars show": """\
# Size, frames, models, disk
musetalk avatars show nora
# Where its files are, for a script
musetalk avatars show anna --json | jq -r .folder
""",
    "musetalk avatars rename": """\
# Another name
musetalk avatars rename interview anna
# In another folder of avatars
musetalk avatars rename interview anna --avatar-dir ~/team/avatars
""",
    "musetalk avatars remove": """\
# One, after a question
musetalk avatars remove anna
# Several, in a script
musetalk avatars remove anna me --yes
""",
    "musetalk avatars preview": """\
# Writes nora.png
musetalk avatars preview nora
# Into another file
musetalk avatars preview anna -o sheet.png --overwrite
""",
    "musetalk devices": """\
# The microphones
musetalk devices
# One of them, by a part of its name
musetalk stream --mic --device usb | ffplay -
""",
    "musetalk doctor": """\
# What works here, what is missing, and what to do
musetalk doctor
# To attach to a bug report, with the servers of downloads tried
musetalk doctor --network --json > doctor.json
""",
    "musetalk bench": """\
# About a minute
musetalk bench
# The neural model, with random weights where the real ones are missing
musetalk bench --model musetalk-1.5
# Do four streams fit?
musetalk bench --sessions 4 --size 512
""",
    "musetalk models": """\
# What is installed
musetalk models list
# Download musetalk-1.5
musetalk models download
""",
    "musetalk models list": """\
# What is installed, what is missing
musetalk models list
# The names of all that is installed
musetalk models list --json | jq -r '.[] | select(.state=="installed").name'
""",
    "musetalk models download": """\
# musetalk-1.5, after a question about the licences
musetalk models download
# In a script
musetalk models download musetalk-1.5 face-parsing --yes --quiet
""",
    "musetalk models import": """\
# Use files that are here, in place
musetalk models import ~/MuseTalk
# A converted copy, half as large
musetalk models import ~/MuseTalk/models --convert
# A fine-tune of your own, for --model mine
musetalk models import ~/exp_out/unet-20000.pth --name mine
""",
    "musetalk models forget": """\
# The name only; the files stay
musetalk models forget mine
# What is left
musetalk models list
""",
    "musetalk models convert": """\
# All that is installed, to half the size
musetalk models convert
# And delete the originals
musetalk models convert musetalk-1.5 --replace
""",
    "musetalk models export": """\
# One frame at a time, into a new folder
musetalk models export --onnx onnx
# For batches of one and of eight, of a model of your own
musetalk models export mine --onnx onnx --batch-size 1 --batch-size 8
""",
    "musetalk models verify": """\
# All that is installed
musetalk models verify
# One model; the exit code says whether it is good
musetalk models verify musetalk-1.5 --quiet
""",
}
