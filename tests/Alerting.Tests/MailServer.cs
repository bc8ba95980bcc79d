using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Platform.Testing;

namespace Platform.Alerting.Tests;

/// <param name="To">Recipients that the server took.</param>
/// <param name="Data">Headers and body as they came.</param>
public sealed record Mail(string From, IReadOnlyList<string> To, string Data);

/// <summary>How a mail server encrypts.</summary>
public enum MailEncryption
{
    None,
    StartTls,
    Tls,
}

/// <summary>A real mail server (aiosmtpd): it wants the account "alerts", refuses recipients named never…, and takes those named later… the second time.</summary>
public sealed class MailServer : IAsyncDisposable
{
    private const string Python = "/usr/bin/python3";

    private const string Script = """
        import json, ssl, sys
        from aiosmtpd.controller import Controller
        from aiosmtpd.smtp import AuthResult, LoginPassword

        port, mode, certificate, key = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        seen = set()

        class Handler:
            async def handle_RCPT(self, server, session, envelope, address, options):
                if address.startswith("never"):
                    return "550 no such user"
                if address.startswith("later") and address not in seen:
                    seen.add(address)
                    return "450 4.7.1 greylisted"
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, server, session, envelope):
                print(json.dumps({"From": envelope.mail_from, "To": envelope.rcpt_tos, "Data": envelope.content.decode("ascii")}), flush=True)
                return "250 queued"

        def authenticate(server, session, envelope, mechanism, data):
            return AuthResult(success=isinstance(data, LoginPassword) and data.login == b"alerts" and data.password == b"a secret", handled=False)

        options = {"none": {}, "starttls": {"tls_context": context, "require_starttls": True, "authenticator": authenticate, "auth_required": True},
                   "tls": {"ssl_context": context, "authenticator": authenticate, "auth_required": True, "auth_require_tls": False}}[mode]
        controller = Controller(Handler(), hostname="127.0.0.1", port=port, **options)
        controller.start()
        print("ready", flush=True)
        sys.stdin.read()
        """;

    private readonly Process _process;
    private readonly ConcurrentQueue<string> _errors = new();
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private MailServer(Process process, int port)
    {
        (_process, Port) = (process, port);
        process.OutputDataReceived += (_, line) =>
        {
            if (line.Data == "ready")
            {
                _ready.TrySetResult();
            }
            else if (line.Data is { Length: > 0 } text)
            {
                Mails.Enqueue(JsonSerializer.Deserialize<Mail>(text)!);
            }
        };
        process.ErrorDataReceived += (_, line) => _errors.Enqueue(line.Data ?? "");
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    public static bool IsInstalled { get; } = Probe();

    public int Port { get; }

    public ConcurrentQueue<Mail> Mails { get; } = new();

    /// <summary>A certificate for "localhost" and its key, as files.</summary>
    public static async Task<(string Certificate, string Key)> CertificateAsync(string folder)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        var (certificateFile, keyFile) = (Path.Combine(folder, "certificate.pem"), Path.Combine(folder, "key.pem"));
        await File.WriteAllTextAsync(certificateFile, certificate.ExportCertificatePem());
        await File.WriteAllTextAsync(keyFile, key.ExportPkcs8PrivateKeyPem());
        return (certificateFile, keyFile);
    }

    public static async Task<MailServer> StartAsync(MailEncryption encryption, string certificate, string key)
    {
        var port = TestWorld.FreePort();
        var start = new ProcessStartInfo(Python, ["-c", Script, port.ToString(CultureInfo.InvariantCulture), encryption.ToString().ToLowerInvariant(), certificate, key])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var server = new MailServer(Process.Start(start)!, port);
        try
        {
            await server._ready.Task.WaitAsync(TimeSpan.FromSeconds(30));
            return server;
        }
        catch (TimeoutException error)
        {
            await server.DisposeAsync();
            throw new InvalidOperationException($"The mail server did not start: {string.Join('\n', server._errors)}", error);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
        }

        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private static bool Probe()
    {
        if (!File.Exists(Python))
        {
            return false;
        }

        using var process = Process.Start(new ProcessStartInfo(Python, ["-c", "import aiosmtpd"]) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode == 0;
    }
}
