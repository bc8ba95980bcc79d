using System.Globalization;
using System.Net.Security;
using System.Security.Authentication;
using System.Text;

namespace Platform.Alerting.Channels;

/// <summary>What a mail server said: its code and its words.</summary>
public sealed record SmtpReply(int Code, IReadOnlyList<string> Lines)
{
    public bool IsPositive => Code is >= 200 and < 400;

    /// <summary>4xx: the same may be accepted later.</summary>
    public bool IsTransient => Code is >= 400 and < 500;

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Code} {string.Join(' ', Lines)}");
}

/// <summary>The server said no. Nothing of the message was taken.</summary>
public sealed class SmtpRefusedException(string step, SmtpReply reply) : IOException($"{step}: {reply}")
{
    public SmtpReply Reply => reply;
}

/// <summary>
/// One conversation with a mail server after RFC 5321, with STARTTLS (RFC 3207) or TLS from the first byte, and AUTH PLAIN or LOGIN
/// (RFC 4954). It owns the stream. Timeouts are the caller's token.
/// </summary>
public sealed class SmtpConversation : IAsyncDisposable
{
    private const int LongestLine = 2_000;
    private const int MostLines = 100;

    private readonly byte[] _buffer = new byte[4_096];
    private Stream _stream;
    private int _start;
    private int _end;
    private IReadOnlyList<string> _extensions = [];
    private bool _isEncrypted;

    private SmtpConversation(Stream stream) => _stream = stream;

    /// <summary>Greets, encrypts and greets again.</summary>
    /// <param name="stream">Connected; the conversation disposes of it, also when this fails.</param>
    /// <param name="host">The server's name, which its certificate must carry.</param>
    /// <param name="hello">The name of this client.</param>
    /// <param name="tls">starttls, tls or none.</param>
    /// <param name="ct">Ends the conversation.</param>
    /// <exception cref="SmtpRefusedException">The server does not want us, or does not offer STARTTLS: then nothing is sent in the clear.</exception>
    /// <exception cref="AuthenticationException">Its certificate is not trusted.</exception>
    public static async Task<SmtpConversation> BeginAsync(Stream stream, string host, string hello, string tls, CancellationToken ct)
    {
        var conversation = new SmtpConversation(stream);
        try
        {
            if (tls == "tls")
            {
                await conversation.EncryptAsync(host, ct);
            }

            Expect("the greeting", await conversation.ReadAsync(ct));
            await conversation.HelloAsync(hello, ct);
            if (tls == "starttls")
            {
                if (!conversation.Offers("STARTTLS"))
                {
                    throw new SmtpRefusedException("STARTTLS", new SmtpReply(454, ["the server does not offer encryption, and nothing is sent without it"]));
                }

                Expect("STARTTLS", await conversation.SayAsync("STARTTLS", ct));
                if (conversation._start < conversation._end)
                {
                    // Somebody on the way put words into the server's mouth before the encryption began.
                    throw new SmtpRefusedException("STARTTLS", new SmtpReply(454, ["the server spoke before encryption began"]));
                }

                await conversation.EncryptAsync(host, ct);
                await conversation.HelloAsync(hello, ct);
            }

            return conversation;
        }
        catch
        {
            await conversation.DisposeAsync();
            throw;
        }
    }

    /// <summary>Shows name and password, by whatever the server offers of PLAIN and LOGIN, and only over an encrypted connection.</summary>
    public async Task AuthenticateAsync(string username, string password, CancellationToken ct)
    {
        if (!_isEncrypted)
        {
            throw new InvalidOperationException("A password would have gone over the line in the clear; the settings do not allow that.");
        }

        var offered = _extensions.FirstOrDefault(line => line.StartsWith("AUTH ", StringComparison.OrdinalIgnoreCase))?.Split(' ')[1..] ?? [];
        if (offered.Contains("PLAIN", StringComparer.OrdinalIgnoreCase))
        {
            Expect("AUTH", await SayAsync($"AUTH PLAIN {Base64($"\0{username}\0{password}")}", ct));
        }
        else if (offered.Contains("LOGIN", StringComparer.OrdinalIgnoreCase))
        {
            Expect("AUTH", await SayAsync("AUTH LOGIN", ct));
            Expect("AUTH", await SayAsync(Base64(username), ct));
            Expect("AUTH", await SayAsync(Base64(password), ct));
        }
        else
        {
            throw new SmtpRefusedException("AUTH", new SmtpReply(504, [$"the server offers {(offered.Length == 0 ? "no authentication" : string.Join(", ", offered))}; PLAIN or LOGIN are known here"]));
        }
    }

    /// <summary>Sends one message to those recipients that the server takes.</summary>
    /// <param name="data">Lines ending in CRLF.</param>
    /// <returns>The server's word on the message, or null when it took no recipient; and what it said of each recipient that it did not take.</returns>
    /// <exception cref="SmtpRefusedException">It does not take the sender or the message.</exception>
    public async Task<(SmtpReply? Taken, IReadOnlyDictionary<string, SmtpReply> NotTaken)> SendAsync(string from, IReadOnlyList<string> to, string data, CancellationToken ct)
    {
        Expect("MAIL FROM", await SayAsync($"MAIL FROM:<{from}>", ct));
        var notTaken = new Dictionary<string, SmtpReply>();
        foreach (var recipient in to)
        {
            if (await SayAsync($"RCPT TO:<{recipient}>", ct) is { IsPositive: false } no)
            {
                notTaken[recipient] = no;
            }
        }

        if (notTaken.Count == to.Count)
        {
            return (null, notTaken);
        }

        Expect("DATA", await SayAsync("DATA", ct));
        var stuffed = data.Replace("\r\n.", "\r\n..", StringComparison.Ordinal);
        await WriteAsync($"{(stuffed.StartsWith('.') ? "." : "")}{stuffed}.\r\n", ct);
        var reply = await ReadAsync(ct);
        Expect("the message", reply);
        return (reply, notTaken);
    }

    /// <summary>A polite end; that the server does not answer it changes nothing.</summary>
    public async Task QuitAsync(CancellationToken ct)
    {
        try
        {
            await SayAsync("QUIT", ct);
        }
        catch (IOException)
        {
            // It has hung up first.
        }
    }

    public ValueTask DisposeAsync() => _stream.DisposeAsync();

    private async Task HelloAsync(string hello, CancellationToken ct)
    {
        var reply = await SayAsync($"EHLO {hello}", ct);
        if (reply.IsPositive)
        {
            _extensions = [.. reply.Lines.Skip(1)];
            return;
        }

        Expect("HELO", await SayAsync($"HELO {hello}", ct));
    }

    private bool Offers(string extension) => _extensions.Any(line => line.Split(' ')[0].Equals(extension, StringComparison.OrdinalIgnoreCase));

    private async Task EncryptAsync(string host, CancellationToken ct)
    {
        var encrypted = new SslStream(_stream);
        _stream = encrypted;
        await encrypted.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = host }, ct);
        _isEncrypted = true;
    }

    private async Task<SmtpReply> SayAsync(string line, CancellationToken ct)
    {
        if (line.AsSpan().IndexOfAny('\r', '\n') >= 0)
        {
            throw new ArgumentException("A command of SMTP is one line; an address or a name must not hold line ends.");
        }

        await WriteAsync(line + "\r\n", ct);
        return await ReadAsync(ct);
    }

    private async Task WriteAsync(string text, CancellationToken ct)
    {
        await _stream.WriteAsync(Encoding.UTF8.GetBytes(text), ct);
        await _stream.FlushAsync(ct);
    }

    // "250-first", "250-second", "250 last".
    private async Task<SmtpReply> ReadAsync(CancellationToken ct)
    {
        var lines = new List<string>();
        while (lines.Count < MostLines)
        {
            var line = await ReadLineAsync(ct);
            if (line.Length < 3 || !int.TryParse(line.AsSpan(0, 3), NumberStyles.None, CultureInfo.InvariantCulture, out var code))
            {
                throw new IOException("What answers there does not speak SMTP.");
            }

            lines.Add(line.Length > 4 ? line[4..] : "");
            if (line.Length == 3 || line[3] != '-')
            {
                return new SmtpReply(code, lines);
            }
        }

        throw new IOException($"The mail server's answer has more than {MostLines} lines.");
    }

    private async Task<string> ReadLineAsync(CancellationToken ct)
    {
        var line = new StringBuilder();
        while (true)
        {
            if (_start == _end)
            {
                _start = 0;
                _end = await _stream.ReadAsync(_buffer, ct);
                if (_end == 0)
                {
                    throw new IOException("The mail server hung up.");
                }
            }

            var character = (char)_buffer[_start++];
            if (character == '\n')
            {
                return line.ToString().TrimEnd('\r');
            }

            if (line.Append(character).Length > LongestLine)
            {
                throw new IOException($"The mail server's answer has a line of more than {LongestLine} characters.");
            }
        }
    }

    private static string Base64(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));

    private static void Expect(string step, SmtpReply reply)
    {
        if (!reply.IsPositive)
        {
            throw new SmtpRefusedException(step, reply);
        }
    }
}
