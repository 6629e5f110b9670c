"""The command line, `flowq`.

main.py group.py options.py    the group of all commands, how they load and end, shared options
commands/                      the commands: their options, and what they do
demo/ doctor/                  what two of the commands do
app/                           the app, flow, inputs and settings that they work with
display/                       what people see
"""
