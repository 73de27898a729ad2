"""pywinrm.py URL TRANSPORT USER [CERT KEY]: runs commands with pywinrm; the password comes on stdin."""
import sys
from winrm.protocol import Protocol

url, transport, user = sys.argv[1:4]
options = {}
if transport == "certificate":
    options = {"cert_pem": sys.argv[4], "cert_key_pem": sys.argv[5]}
p = Protocol(endpoint=url, transport=transport, username=user, password=sys.stdin.read(), server_cert_validation="ignore",
             message_encryption="auto", kerberos_delegation=False, **options)
shell = p.open_shell()
for line in ("echo out; echo err >&2; exit 7", "printf '%20000s' x"):
    command = p.run_command(shell, line)
    out, err, code = p.get_command_output(shell, command)
    print(len(out), out[-10:].decode().strip(), err.decode().strip(), code)
    p.cleanup_command(shell, command)
p.close_shell(shell)
