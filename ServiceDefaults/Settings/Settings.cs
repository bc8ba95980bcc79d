using System.ComponentModel.DataAnnotations;
using System.Reflection;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

namespace Platform.ServiceDefaults;

/// <summary>
/// Names the flat setting (an environment variable, usually) that a property of an options class is read from.
/// A name that ends in _MILLISECONDS, _SECONDS, _MINUTES, _HOURS or _DAYS gives a <see cref="TimeSpan"/> its unit, and a <see cref="RangeAttribute"/> beside it counts in that unit.
/// </summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class SettingAttribute(string name) : Attribute
{
    public string Name => name;

    /// <summary>Other names of the same setting. Start fails when two of them are set and differ.</summary>
    public string[] Aliases { get; init; } = [];

    /// <summary>The value never appears in an error message.</summary>
    public bool Secret { get; init; }
}

/// <summary>Start failed because of settings. The message is complete: it is printed alone, without a stack trace.</summary>
public sealed class SettingsException(string message) : Exception(message);

public static class Settings
{
    private static int _quietExit;

    /// <summary>
    /// Reads <typeparamref name="T"/>, checks it and registers it as a plain singleton, so that consumers take <typeparamref name="T"/> and nothing else.
    /// </summary>
    /// <param name="builder">Configuration is read now: what is wrong stops the process before it has done anything.</param>
    /// <param name="section">Where properties without <see cref="SettingAttribute"/> are looked up (<c>section:Property</c>); none by default.</param>
    /// <exception cref="SettingsException">Names every wrong setting, its value, what is expected and the remedy.</exception>
    public static T AddSettings<T>(this IHostApplicationBuilder builder, string? section = null) where T : class, new()
    {
        ExitQuietly();
        var settings = Read<T>(builder.Configuration, section);
        builder.Services.TryAddSingleton(settings);
        return settings;
    }

    internal static T Read<T>(IConfiguration configuration, string? section = null) where T : class, new()
    {
        var settings = new T();
        List<string> errors = [];
        foreach (var property in typeof(T).GetProperties(BindingFlags.Public | BindingFlags.Instance))
        {
            if (property.CanWrite)
            {
                var setting = property.GetCustomAttribute<SettingAttribute>();
                string[] names = setting is not null ? [setting.Name, .. setting.Aliases] : section is not null ? [$"{section}:{property.Name}"] : [];
                Bind(configuration, settings, property, names, setting?.Secret ?? false, errors);
            }
        }

        if (errors.Count == 0 && settings is IValidatableObject rules)
        {
            errors.AddRange(rules.Validate(new ValidationContext(settings)).Select(result => result.ErrorMessage ?? "A setting is not valid."));
        }

        return errors.Count == 0 ? settings : throw new SettingsException(string.Join(Environment.NewLine, errors));
    }

    private static void Bind(IConfiguration configuration, object settings, PropertyInfo property, string[] names, bool secret, List<string> errors)
    {
        var given = names.Where(name => !string.IsNullOrWhiteSpace(configuration[name])).ToArray();
        var ranges = property.GetCustomAttribute<RangeAttribute>();
        var value = property.GetValue(settings);
        var name = given.FirstOrDefault() ?? names.FirstOrDefault() ?? property.Name;
        var fallback = value is null or "" || secret ? "" : $" (the default is {SettingText.Show(value, name)})";
        if (given.Skip(1).FirstOrDefault(other => configuration[other]!.Trim() != configuration[name]!.Trim()) is { } rival)
        {
            errors.Add($"{name} and {rival} are two names of one setting and differ. Set one of them, or both alike.");
            return;
        }

        if (given.Length > 0)
        {
            var text = configuration[name]!.Trim();
            if (!SettingText.TryParse(text, property.PropertyType, name, out value))
            {
                errors.Add($"{name} is {Quote(text)}: expected {SettingText.Expected(property.PropertyType, name, ranges)}. Change it, or unset it{fallback}.");
                return;
            }

            property.SetValue(settings, value);
        }

        foreach (var rule in property.GetCustomAttributes<ValidationAttribute>())
        {
            if (rule is RangeAttribute range && value is TimeSpan time && range.OperandType != typeof(TimeSpan))
            {
                if (!range.IsValid(SettingText.InUnit(time, name)))
                {
                    errors.Add($"{name} is {Quote(SettingText.Show(value, name))}: expected {SettingText.Expected(property.PropertyType, name, range)}. Change it, or unset it{fallback}.");
                }
            }
            else if (rule.GetValidationResult(value, new ValidationContext(settings) { MemberName = property.Name, DisplayName = name }) is { } failure)
            {
                var expected = rule is RangeAttribute bounds ? $"expected {SettingText.Expected(property.PropertyType, name, bounds)}" : failure.ErrorMessage;
                errors.Add(value is null or "" ? $"{name} is not set: {expected} Set it." : $"{name} is {Quote(SettingText.Show(value, name))}: {expected}. Change it, or unset it{fallback}.");
            }
        }

        string Quote(string text) => secret ? "set to a value that is not shown" : $"\"{text}\"";
    }

    // A wrong setting is the operator's to mend: they get the sentence, not a crash dump.
    private static void ExitQuietly()
    {
        if (Interlocked.Exchange(ref _quietExit, 1) == 0)
        {
            AppDomain.CurrentDomain.UnhandledException += (_, fault) =>
            {
                if (fault.ExceptionObject is SettingsException wrong)
                {
                    Console.Error.WriteLine(wrong.Message);
                    Environment.Exit(1);
                }
            };
        }
    }
}
