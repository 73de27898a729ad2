"""Sends bytes to a Windows machine with pywinrm, and prints how many, and the seconds that took.

upload.py ENDPOINT USER (stdin|lines) BYTES; the password comes by stdin.
"""
import base64, os, sys, time
import xmltodict
from winrm.protocol import Protocol

SHELL = 'http://schemas.microsoft.com/wbem/wsman/1/windows/shell/'
FILE = 'C:\\upload.b64'


def by_stdin(p, shell, data):
    """The messages that Ansible's put_file sends: base64 in lines of 250,000 bytes each, in base64 once more."""
    command = p.run_command(shell, 'powershell.exe', ['count'], console_mode_stdin=False)
    for i in range(0, len(data), 250000):
        message = {'env:Envelope': p._get_soap_header(resource_uri=SHELL + 'cmd', action=SHELL + 'Send', shell_id=shell)}
        stream = {'@Name': 'stdin', '@CommandId': command,
                  '#text': base64.b64encode(base64.b64encode(data[i:i + 250000]) + b'\r\n')}
        if i + 250000 >= len(data):
            stream['@End'] = 'true'
        message['env:Envelope']['env:Body'] = {'rsp:Send': {'rsp:Stream': stream}}
        p.send_message(xmltodict.unparse(message))
    out, err, code = p.get_command_output(shell, command)
    p.cleanup_command(shell, command)
    want = sum(len(base64.b64encode(data[i:i + 250000])) + 2 for i in range(0, len(data), 250000))
    assert code == 0 and int(out) == want, (code, out, err, want)


def by_lines(p, shell, data):
    """Command lines of nearly the 8,191 characters that cmd.exe takes, each appending to a file. Decoding it isn't timed."""
    size = 6000
    for i in range(0, len(data), size):
        line = 'echo ' + base64.b64encode(data[i:i + size]).decode() + ('>>' if i else '>') + FILE
        command = p.run_command(shell, line)
        out, err, code = p.get_command_output(shell, command)
        p.cleanup_command(shell, command)
        assert code == 0, (code, out, err)


endpoint, user, way, size = sys.argv[1:]
data = os.urandom(int(size))
p = Protocol(endpoint, transport='ntlm', username=user, password=sys.stdin.read())
shell = p.open_shell()
start = time.monotonic()
{'stdin': by_stdin, 'lines': by_lines}[way](p, shell, data)
print(len(data), time.monotonic() - start)
p.close_shell(shell)
